"""Renders the one nginx template and its upstream lists into the folder nginx runs in."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "nginx"
NOBODY = "server 127.0.0.1:9 down;\n"
"""nginx refuses an empty upstream; the discard port, marked down, is never tried."""

Address = tuple[str, int]


def render(folder: Path, *, listen: str, user: str = "") -> None:
    """Make `folder` ready for `nginx -p folder -c nginx.conf`; upstream lists that exist are kept."""
    values = {"LISTEN": listen, "USER": f"user {user};" if user else "", "WORKERS": "auto"}
    template = (SOURCES / "nginx.conf.template").read_text()
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES / "pages", folder / "pages", dirs_exist_ok=True)
    replace(folder / "nginx.conf", re.sub(r"\$\{([A-Z]+)\}", lambda name: values[name[1]], template))
    for upstream in ("agents.conf", "control.conf"):
        if not (folder / upstream).exists():
            replace(folder / upstream, NOBODY)


def upstream_list(servers: Iterable[Address]) -> str:
    """The lines of an upstream: a server that fails once is left alone for two seconds."""
    lines = [f"server {host}:{port} max_fails=1 fail_timeout=2s;\n" for host, port in sorted(set(servers))]
    return "".join(lines) or NOBODY


def replace(path: Path, text: str) -> bool:
    """Write `text` in one step; False if the file says so already."""
    if path.exists() and path.read_text() == text:
        return False
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
    return True
