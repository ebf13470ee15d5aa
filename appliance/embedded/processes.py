"""Processes by identity, not by number: a pid counts only together with the kernel's start time and boot."""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.embedded.launch import identity_of


@dataclass(frozen=True)
class Spec:
    """What `launch.py` needs to become a program, and what others need to end it."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    log: str
    order: int
    stop_signal: int
    stop_within_s: int
    fingerprint: str

    def to_json(self) -> str:
        """The text of `run/NAME.spec.json`."""
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True)
class Recorded:
    """A program as it wrote itself down when it was started."""

    spec: Spec
    identity: dict[str, object]

    @property
    def pid(self) -> int:
        """Its process number."""
        return int(str(self.identity["pid"]))

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return identity_of(self.pid) == self.identity


def read_record(run: Path, name: str) -> Recorded | None:
    """What `run/NAME.json` says, or None when it says nothing usable."""
    try:
        found: dict[str, Any] = json.loads((run / f"{name}.json").read_text())
        spec = Spec(**(found["spec"] | {"argv": tuple(found["spec"]["argv"])}))
        return Recorded(spec, dict(found["identity"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def living(run: Path) -> list[Recorded]:
    """The recorded programs that run now, in start order."""
    names = [file.name.removesuffix(".spec.json") for file in run.glob("*.spec.json")]
    found = [record for name in names if (record := read_record(run, name)) and record.alive]
    return sorted(found, key=lambda record: (record.spec.order, record.spec.name))


def tell(record: Recorded, number: int) -> bool:
    """Send a signal to exactly the recorded process; False when it is gone."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle pins the process, so nobody else can get the number between the look and the signal.
        if not record.alive:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def end(records: list[Recorded]) -> None:
    """End these processes and return when they are gone: asked first, their groups by force when they will not."""
    asked = [record for record in records if tell(record, record.spec.stop_signal)]
    deadline = time.monotonic() + max((record.spec.stop_within_s for record in asked), default=0)
    while any(record.alive for record in asked) and time.monotonic() < deadline:
        time.sleep(0.02)
    for record in asked:
        if record.alive:
            with suppress(ProcessLookupError):
                os.killpg(record.pid, signal.SIGKILL)
    while any(record.alive for record in asked):
        time.sleep(0.02)


def holder_of_port(port: int) -> str | None:
    """Who listens on a TCP port of this machine, as `name (pid 12)`; None when it may not be known."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(OSError):
            if any(str(link.readlink()) in inodes for link in Path(f"/proc/{pid}/fd").iterdir()):
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    return None


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found
