"""Redis 8 with JSON and search out of two wheels, append-only, on loopback, with one user per role."""

import hashlib
import socket
from collections.abc import Iterable
from pathlib import Path

from appliance.core import acl
from appliance.core.keys import Keys
from appliance.core.settings import KEY_PREFIX
from appliance.embedded.places import Home, redis_modules, redis_server
from appliance.embedded.programs import Program
from appliance.embedded.secrets import read_secret, write_private

_SEARCH_OPTIONS = " FORK_GC_CLEAN_THRESHOLD 1 FORK_GC_RUN_INTERVAL 10"
"""Forget what left an index at the next look. Until then its words count: one that more documents had than there are
outweighs all others (RediSearch 2.10.5 subtracts without a sign), and of a few memories 100 never leave."""


def configure(home: Home, port: int, prefix: str = KEY_PREFIX) -> None:
    """Write the configuration and the users, whose rules hold for keys under `prefix`, for their owner's eyes only."""
    data, users = home.data / "redis", home.run / "redis.acl"
    data.mkdir(mode=0o700, exist_ok=True)
    write_private(users, users_file(home, prefix))
    text = configuration(port, bind="127.0.0.1", users=users, data=data, modules=redis_modules())
    write_private(home.run / "redis.conf", text)


def users_file(home: Home, prefix: str = KEY_PREFIX) -> str:
    """The users with this home's passwords, as hashes."""
    passwords = {user: read_secret(home.secrets, f"redis_{user}_password") for user in acl.USERS}
    return acl.acl_file(Keys(prefix), passwords)


def configuration(port: int, *, bind: str, users: Path, data: Path, modules: Iterable[Path]) -> str:
    """`redis.conf`, in both runtimes."""
    lines = [
        f"port {port}",
        f"bind {bind}",
        f'aclfile "{users}"',
        f'dir "{data}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "set-proc-title no",
        *(f'loadmodule "{it}"{_SEARCH_OPTIONS if it.name == "redisearch.so" else ""}' for it in modules),
    ]
    return "\n".join(lines) + "\n"


def redis(home: Home, port: int) -> Program:
    """The server of a configured home."""
    configured = (home.run / "redis.conf").read_bytes() + (home.run / "redis.acl").read_bytes()
    return Program(
        name="redis",
        argv=(str(redis_server()), str(home.run / "redis.conf")),
        cwd=home.data,
        # Redis reads both only when it starts: another content is another program, which `up` starts anew.
        env={"NEXUS_CONFIGURATION": hashlib.sha256(configured).hexdigest()[:16]},
        check=lambda: _is_ready(home, port),
        stop_within_s=30,
    )


def _is_ready(home: Home, port: int) -> str | None:
    """Speak the few words of the protocol that tell a loaded server from a loading one or a stranger."""
    words = f"AUTH operator {read_secret(home.secrets, 'redis_operator_password')}\r\nPING\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(words.encode())
            answer = connection.makefile("rb")
            signed_in, pong = answer.readline().decode().strip(), answer.readline().decode().strip()
    except OSError as error:
        return f"port {port}: {error.strerror or error}"
    return None if (signed_in, pong) == ("+OK", "+PONG") else f"it answered {signed_in!r} and {pong!r}"


def redis_url(port: int) -> str:
    """The address programs are given; the passwords are in the secrets folder."""
    return f"redis://127.0.0.1:{port}"
