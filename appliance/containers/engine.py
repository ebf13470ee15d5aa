"""The Docker Engine and its Compose, used through their command lines so that every step can be typed by hand."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from appliance.containers.places import COMPOSE_BINARY, nearby
from appliance.core.errors import CannotStart
from appliance.embedded.bootstrap.machine import docker_state

OLDEST_COMPOSE = (2, 20)
"""The first that knows `depends_on: required: false`."""
SOCKET = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
Shown = Callable[[str], None]
"""Is told each command before it runs."""


class Engine:
    """Runs `docker` commands. `show` gets those that change something."""

    def __init__(self, show: Shown = lambda _: None) -> None:
        self._show = show

    def run(self, *words: str, within_s: float = 600) -> str:
        """Run one command that changes something, showing it first.

        Raises:
            CannotStart: it failed; with its last words.
        """
        command = ["docker", *words]
        self._show(shlex.join(command))
        return _done(command, within_s)

    def ask(self, *words: str, accept: Sequence[int] = (0,), within_s: float = 30) -> str:
        """Run one command that only looks, or that nobody needs to see.

        Raises:
            CannotStart: it ended with another code than `accept`.
        """
        return _done(["docker", *words], within_s, accept)

    def compose(self, options: Sequence[str], *words: str, within_s: float = 600) -> str:
        """Run one Compose command, showing it first.

        Raises:
            CannotStart: it failed.
        """
        command = [*compose_command(), *options, *words]
        self._show(shlex.join(command))
        return _done(command, within_s)

    def has_image(self, tag: str) -> bool:
        """Whether an image is there."""
        return bool(self.ask("image", "ls", "--quiet", tag).strip())

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """Return what the engine knows of these containers; one that was removed meanwhile is left out."""
        return list(json.loads(self.ask("inspect", *names, accept=(0, 1)))) if names else []


def refuse_unusable_docker() -> None:
    """Look whether Docker can run the appliance here; nothing is changed.

    Raises:
        CannotStart: it cannot; with what to type.
    """
    _refuse_silent_docker()
    kind = Engine().ask("version", "--format", "{{.Server.Os}} {{.Server.Arch}}").strip()
    if kind != "linux amd64":
        raise CannotStart(f"The images need Linux on x86-64; this Docker Engine runs {kind}. Nothing was changed.")


def _refuse_silent_docker() -> None:
    ways_out = {
        "absent": "Docker is not installed: sudo apt-get install -y docker.io",
        "silent": "Docker is installed, but does not answer: sudo systemctl start docker",
        "forbidden": "Docker is installed, but you may not use it: sudo usermod -aG docker $USER, then sign in anew",
    }
    if way_out := ways_out.get(docker_state()):
        raise CannotStart(f"{way_out}. Without containers: `make up ARGS='--runtime embedded'` in a home of its own.")


def _done(command: Sequence[str], within_s: float, accept: Sequence[int] = (0,)) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s)
    except FileNotFoundError:
        raise CannotStart(f"`{command[0]}` is not installed: sudo apt-get install -y docker.io") from None
    except subprocess.TimeoutExpired:
        raise CannotStart(f"`{shlex.join(command[:4])} …` did not end within {within_s:.0f} s") from None
    if done.returncode not in accept:
        _refuse_silent_docker()
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise CannotStart(f"`{shlex.join(command[:6])} …` failed:\n{words}")
    return done.stdout


def compose_command() -> list[str]:
    """Return what Compose is called with: Docker's own plugin when it is new enough, else the one `up` fetched."""
    return ["docker", "compose"] if _plugin_version() >= OLDEST_COMPOSE else [nearby(COMPOSE_BINARY)]


def has_compose() -> bool:
    """Whether there is a Compose that will do."""
    return COMPOSE_BINARY.exists() or _plugin_version() >= OLDEST_COMPOSE


def _plugin_version() -> tuple[int, ...]:
    if not shutil.which("docker"):
        return ()
    said = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, check=False)
    found = re.match(r"v?(\d+)\.(\d+)", said.stdout.strip())
    return tuple(map(int, found.groups())) if found else ()


def fetch_compose(base: str, apt_conf: Path) -> None:
    """Take Compose v2 out of Debian's package, inside a container, so that this machine's packages stay as they are."""
    script = (
        "apt-get update -q >&2 && cd /tmp && apt-get download -q docker-compose >&2 && dpkg -x docker-compose_*.deb . "
        "&& cat usr/libexec/docker/cli-plugins/docker-compose"
    )
    mount = f"{apt_conf}:/etc/apt/apt.conf.d/90-nexus-host:ro"
    command = ["docker", "run", "--rm", "--volume", mount, base, "sh", "-c", script]
    draft = COMPOSE_BINARY.with_suffix(".new")
    with draft.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        draft.unlink()
        raise CannotStart(f"Docker's Compose could not be fetched: {done.stderr.strip()[-400:]}")
    draft.chmod(0o755)
    draft.rename(COMPOSE_BINARY)
