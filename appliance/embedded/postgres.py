"""PostgreSQL 18 out of a wheel: made once with SCRAM passwords, on loopback TCP only.

PostgreSQL refuses to run as root. As root it is started in a user namespace in which root is called 1000: its
files stay root's, no account is made and no permission is changed.
"""

import os
import shutil
import signal
import subprocess

from appliance.core.errors import CannotStart
from appliance.embedded.places import Home, postgres_binary
from appliance.embedded.programs import Program
from appliance.embedded.secrets import read_secret

SUPERUSER, ROLE, DATABASE = "postgres", "nexus", "nexus"
MAX_CONNECTIONS = 1000
"""Fifty agents (FLEET_MAX), each with two pools of eight at most and a connection that listens, and some more."""
_AS_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def unprivileged() -> tuple[str, ...]:
    """What to put before a command that must not see itself as root."""
    return _AS_ROOT if os.geteuid() == 0 else ()


def initialise(home: Home) -> None:
    """Make the database cluster with role and database `nexus`, unless it is there already.

    Built beside its place and renamed, so an interrupted first start leaves nothing half made.
    """
    place, draft = home.data / "postgres", home.data / "postgres.new"
    if place.exists():
        return
    shutil.rmtree(draft, ignore_errors=True)
    auth = [
        "--auth=scram-sha-256",
        f"--pwfile={home.secrets / 'postgres_password'}",
        f"--username={SUPERUSER}",
    ]
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _run(home, "initdb", f"--pgdata={draft}", *auth, *locale)
    _run(home, "postgres", "--single", "-D", str(draft), SUPERUSER, text=_first_statements(home))
    _run(home, "postgres", "--single", "-D", str(draft), DATABASE, text="create extension vector;\n")
    draft.rename(place)


def _first_statements(home: Home) -> str:
    """One statement a line, as single-user mode wants them. The role owns its database and nothing else."""
    password = read_secret(home.secrets, "postgres_password")
    return f"create role {ROLE} login password '{password}';\ncreate database {DATABASE} owner {ROLE};\n"


def _run(home: Home, name: str, *arguments: str, text: str = "") -> None:
    command = [*unprivileged(), str(postgres_binary(name)), *arguments]
    done = subprocess.run(command, input=text, text=True, capture_output=True, cwd=home.data, check=False)
    # Single-user mode ends with 0 whatever its statements did.
    if done.returncode or "ERROR:" in done.stderr:
        raise CannotStart(f"{name} failed: {_why(done.stderr)}")


def _why(stderr: str) -> str:
    if "unshare" in stderr:
        return (
            "PostgreSQL cannot run as root and this machine forbids user namespaces "
            f"({stderr.strip()}): run as an ordinary user, with a --home of its own"
        )
    return stderr.strip()[-500:] or "no reason given"


def server_command(home: Home, port: int, listen: str = "127.0.0.1", **more: str) -> tuple[str, ...]:
    """The command line of the server of an initialised home, in both runtimes."""
    options = {
        "listen_addresses": listen,
        "port": port,
        "unix_socket_directories": "",
        "max_connections": MAX_CONNECTIONS,
        "external_pid_file": "",
        "log_line_prefix": "%m [%p] ",
        **more,
    }
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return (*unprivileged(), str(postgres_binary("postgres")), "-D", str(home.data / "postgres"), *settings)


def postgres(home: Home, port: int) -> Program:
    """The server of an initialised home. SIGINT is its quick orderly stop; SIGTERM would wait for clients."""
    return Program(
        name="postgres",
        argv=server_command(home, port),
        cwd=home.data,
        check=lambda: _is_ready(port),
        stop_signal=signal.SIGINT,
        stop_within_s=30,
    )


def _is_ready(port: int) -> str | None:
    command = [
        str(postgres_binary("pg_isready")),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-t",
        "2",
        "-d",
        DATABASE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stdout.strip() or "no answer"


def postgres_url(port: int) -> str:
    """The address programs are given; the password is in the secrets folder."""
    return f"postgresql://{ROLE}@127.0.0.1:{port}/{DATABASE}"
