"""Where the runtime with Docker keeps what it builds (in the checkout, for all homes) and what it writes in a home."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from appliance.embedded.places import CHECKOUT, DEFAULT_HOME, Home

BUILD = CHECKOUT / "build" / "docker"
"""What can be built anew at any time: wheels, build contexts, a fetched Compose."""
WHEELS = BUILD / "wheels"
CONTEXTS = BUILD / "images"
APT_CONF = BUILD / "apt.conf"
COMPOSE_BINARY = BUILD / "docker-compose"
COMPOSE_FILE = CHECKOUT / "compose" / "compose.yaml"

_USER_ID = 10001


def user_id() -> int:
    """Who the containers run as: whoever typed `up` and owns the secrets; for root, somebody without an account."""
    return os.getuid() or _USER_ID


def nearby(path: Path) -> str:
    """Return a path as short as a person would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@dataclass(frozen=True)
class Staged:
    """What Compose is given of one home, in its `run` folder; written anew on every `up`."""

    home: Home

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.home.run / "docker"

    @property
    def secrets(self) -> Path:
        """Secrets as the containers' user may read them."""
        return self.folder / "secrets"

    @property
    def variables(self) -> Path:
        """What `compose.yaml` is filled in with."""
        return self.folder / "compose.env"

    @property
    def settings(self) -> Path:
        """Settings of our programs, none of them secret."""
        return self.folder / "settings.env"

    @property
    def redis_conf(self) -> Path:
        """The configuration of Redis."""
        return self.folder / "redis.conf"

    @property
    def project(self) -> str:
        """The name of the Compose project: `nexus`, with a mark of its own for another home than the usual one."""
        if self.home.root == DEFAULT_HOME:
            return "nexus"
        return f"nexus-{hashlib.sha256(str(self.home.root).encode()).hexdigest()[:8]}"

    @property
    def compose_options(self) -> tuple[str, ...]:
        """What to put between `docker compose` and its command: everything else stands in that file."""
        return ("--env-file", nearby(self.variables))
