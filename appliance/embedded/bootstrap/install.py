"""Installs the locked packages into `.venv` beside the code: checked by hash, wheels only, never silent."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[3]
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
_INSTALL = ("install", "--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-input", "--progress-bar=off")
_NAMED = re.compile(r"(?:Downloading|Using cached|Collecting) ([^\s=-]+)")
_LAUNCHER = """#!/bin/sh
here=$(dirname -- "$(readlink -f -- "$0")")
PYTHONPATH=$here/../.. exec "$here/python" -P -m appliance.cli "$@"
"""


@dataclass(frozen=True)
class Lock:
    """A lock file and the stamp that says it is installed."""

    name: str

    @property
    def file(self) -> Path:
        """Where it is."""
        return CHECKOUT / f"{self.name}.lock"

    @property
    def is_installed(self) -> bool:
        """Whether exactly this lock was installed, for this Python."""
        with suppress(OSError):
            return self._stamp.read_text() == self._wanted() and PYTHON.exists()
        return False

    def mark_installed(self) -> None:
        """Say that it is; written last, so an interrupted installation is taken up again."""
        self._stamp.write_text(self._wanted())

    def size(self, what: str) -> int:
        """The MB that the lock's head gives for `download` or `installed`."""
        found = re.search(rf"^# {what}-mb: (\d+)$", self.file.read_text(), re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def _stamp(self) -> Path:
        return VENV / f"{self.name}.installed"

    def _wanted(self) -> str:
        return f"{_python_of_venv()} {hashlib.sha256(self.file.read_bytes()).hexdigest()}\n"


RUNTIME, DEV = Lock("requirements"), Lock("requirements-dev")


class InstallFailed(Exception):
    """What went wrong, with what to do."""


def install(*locks: Lock) -> float:
    """Install what is missing of these locks; return the seconds it took."""
    began = time.monotonic()
    try:
        with RUNTIME.file.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _install_missing(locks)
    except OSError as error:
        raise InstallFailed(f"{VENV} cannot be written ({error.strerror})") from None
    return time.monotonic() - began


def _install_missing(locks: tuple[Lock, ...]) -> None:
    if _python_of_venv() != _this_python() or not PYTHON.exists():
        shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir()
        _watched("making .venv", [sys.executable, "-m", "venv", str(VENV)])
    for lock in locks:
        if not lock.is_installed:
            _watched("packages", [str(PYTHON), "-m", "pip", *_INSTALL, "-r", str(lock.file)])
            lock.mark_installed()
    launcher = VENV / "bin" / "nexus"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)


def _this_python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _python_of_venv() -> str:
    """The Python for which `.venv` was made; empty when there is none."""
    try:
        found = re.search(r"^version\s*=\s*(\d+\.\d+)", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _watched(what: str, command: list[str]) -> None:
    """Run a command and show that it is alive, about once a second, and what it is busy with."""
    log = VENV / "install.log"
    quiet = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, **quiet}
        )
    try:
        with log.open() as output:
            _show(what, process, output)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        tail = "\n".join(f"    {line}" for line in log.read_text().splitlines()[-8:])
        raise InstallFailed(f"{what}: `{' '.join(command[:4])} …` failed:\n{tail}\n  Mend that and run it again.")


def _show(what: str, process: "subprocess.Popen[bytes]", output: IO[str]) -> None:
    live, began, busy, printed = sys.stdout.isatty(), time.monotonic(), "", 0.0
    while process.poll() is None:
        if names := _NAMED.findall(output.read()):
            busy = Path(names[-1]).name
        seconds = time.monotonic() - began
        if live:
            print(f"\r\033[K  … {what} {seconds:.0f} s {busy}", end="", flush=True)
        elif seconds - printed >= 1:
            print("." if printed else f"  … {what} .", end="", flush=True)
            printed = seconds
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    if live:
        print("\r\033[K", end="", flush=True)
    elif printed:
        print(flush=True)
