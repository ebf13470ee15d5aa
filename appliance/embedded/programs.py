"""How a program is started, checked and stopped, and a runner small enough for tests."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appliance.core.errors import CannotStart

Check = Callable[[], str | None]
"""Says in a few words what is still missing, or None when the program can be used."""

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What a program may know of the environment `up` was typed in; everything else is said explicitly."""
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class Program:
    """One supervised program."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    check: Check
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: int = 10

    def environment(self) -> dict[str, str]:
        """The whole environment the program gets."""
        return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(self.env)


def start(program: Program, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a program as a child in its own process group, without the process manager."""
    with (log or Path(os.devnull)).open("ab") as out:
        return subprocess.Popen(
            program.argv,
            cwd=program.cwd,
            env=program.environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def wait_ready(program: Program, within_s: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the program's check passes.

    Raises:
        CannotStart: it ended, or did not pass in time; says what was missing.
    """

    def ended() -> str | None:
        return f"it ended with code {process.returncode}" if process and process.poll() is not None else None

    wait_until_ready(program, within_s, ended)


def wait_until_ready(program: Program, within_s: float, ended: Check) -> None:
    """Like `wait_ready`, for whoever knows by other means that the program ended and how."""
    deadline = time.monotonic() + within_s
    while missing := program.check():
        if why := ended():
            raise CannotStart(f"{program.name} does not start: {why}")
        if time.monotonic() > deadline:
            raise CannotStart(f"{program.name} is not ready after {within_s:g} s: {missing}")
        time.sleep(0.02)


def stop(program: Program, process: subprocess.Popen[bytes]) -> None:
    """End a program the way it wants to be ended, and its whole group by force when it will not."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    try:
        process.wait(program.stop_within_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def accepts(port: int) -> Check:
    """Check that something accepts connections on a loopback port."""

    def check() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as error:
            return f"port {port}: {error.strerror or error}"
        return None

    return check


def listens(path: Path) -> Check:
    """Check that something accepts connections on a Unix socket, however long its path is."""

    def check() -> str | None:
        try:
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
        except OSError as error:
            return f"{path.name}: {error.strerror or error}"
        return None

    return check


def serves(url: str) -> Check:
    """Check that `url` on this machine is answered at all, be it that it is not found."""
    return answers(url, below=500)


def answers(url: str, below: int = 300) -> Check:
    """Check that a GET of `url` on this machine is answered with a status below `below`."""

    def check() -> str | None:
        try:
            _NO_PROXY.open(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            return f"{url} answers {error.code}" if error.code >= below else None
        except OSError as error:
            return f"{url}: {getattr(error, 'reason', error)}"
        return None

    return check


def free_port() -> int:
    """A loopback port that nobody uses at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
