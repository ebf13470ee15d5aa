"""Secrets are files only their owner may read; programs are given the folder, never the value."""

import os
import secrets
from pathlib import Path

from appliance.core.acl import USERS

GENERATED = ("postgres_password", "cluster_secret", *(f"redis_{user}_password" for user in USERS))
"""Named like the settings they fill (`NEXUS_SECRETS_DIR`); a program takes the Redis password of its own role.

All programs of a home are one user of this machine and share the folder: the roles stop mistakes, forgeries by stale
code and whatever only got hold of a connection, not a process that reads another's secret.
"""


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read; readers see the old content or the new, never half."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def generate_missing(folder: Path) -> None:
    """Give every secret that has no value yet a random one; existing ones stay."""
    (folder / "redis_password").unlink(missing_ok=True)  # of homes from before one user per role; opens nothing now
    for name in GENERATED:
        if not (folder / name).exists():
            write_private(folder / name, secrets.token_urlsafe(32))


def read_secret(folder: Path, name: str) -> str:
    """The value of a generated secret."""
    return (folder / name).read_text().strip()
