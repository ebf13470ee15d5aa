"""Decides from the facts whether to start, and says it in sentences. No input or output here."""

from dataclasses import dataclass
from enum import Enum

from appliance.embedded.bootstrap.machine import Machine

PYTHONS = ((3, 11), (3, 12), (3, 13))
OLDEST_GLIBC = (2, 31)
MEMORY_GB = 1.4
"""Three agents, the stores and the bundled models."""
DATA_GB = 0.5


class Mark(Enum):
    """How a line of the look begins."""

    GOOD = "✓"
    NOTE = "!"
    BLOCKED = "✗"


@dataclass(frozen=True)
class Line:
    """One finding."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Needs:
    """What the installation would take; nothing when it is there already."""

    download_mb: int = 0
    installed_mb: int = 0


def unsupported(machine: Machine) -> str | None:
    """Why Nexus cannot run here at all, with Docker or without, in one sentence; None when it can."""
    if machine.system != "Linux" or machine.cpu != "x86_64":
        return f"Nexus needs Linux on x86-64; this is {machine.system} on {machine.cpu}, with or without Docker."
    if machine.glibc is None or machine.glibc < OLDEST_GLIBC:
        found = "another C library" if machine.glibc is None else f"glibc {_dotted(machine.glibc)}"
        return f"Nexus needs glibc 2.31 or newer; this system has {found}."
    if machine.implementation != "cpython" or machine.python not in PYTHONS:
        found = f"{machine.implementation} {_dotted(machine.python)}"
        return f"Nexus needs CPython 3.11, 3.12 or 3.13; this is {found}: try `make up PYTHON=python3.11`."
    return None


def findings(machine: Machine, needs: Needs) -> list[Line]:
    """The lines of the look; the start is off if one is BLOCKED."""
    why_not = unsupported(machine)
    if why_not:
        return [Line(Mark.BLOCKED, why_not)]
    return [line for line in (_host(machine), _packages(machine), _root(machine), _space(machine, needs)) if line] + [
        _docker(machine)
    ]


def _host(machine: Machine) -> Line:
    has = f"{machine.memory_gb:.1f} GB RAM and {machine.disk_gb:.0f} GB disk free"
    text = f"{machine.name} x86-64, Python {_dotted(machine.python)}, {has}"
    if machine.memory_gb < MEMORY_GB:
        return Line(Mark.NOTE, f"{text}: about {MEMORY_GB} GB RAM are needed, so this may get tight")
    return Line(Mark.GOOD, text)


def _packages(machine: Machine) -> Line | None:
    if not machine.missing_packages:
        return None
    names = " ".join(machine.missing_packages)
    if not machine.has_apt:
        return Line(Mark.BLOCKED, f"missing on this system (by Debian's names): {names}")
    sudo = "" if machine.is_root else "sudo "
    return Line(Mark.BLOCKED, f"missing on this system: {sudo}apt-get install -y {names}")


def _root(machine: Machine) -> Line | None:
    if machine.user_namespaces:
        return None
    return Line(
        Mark.BLOCKED,
        "PostgreSQL refuses to run as root, and user namespaces, which would help, are off here: "
        "run as an ordinary user, from a folder of that user",
    )


def _space(machine: Machine, needs: Needs) -> Line | None:
    wanted = needs.installed_mb / 1000 + DATA_GB
    if machine.disk_gb >= wanted:
        return None
    return Line(Mark.BLOCKED, f"{wanted:.1f} GB of disk are needed here, {machine.disk_gb:.1f} GB are free")


def _docker(machine: Machine) -> Line:
    found = {
        "answers": Line(Mark.GOOD, "Docker answers: a new appliance runs in it (--runtime embedded: as processes)"),
        "forbidden": Line(
            Mark.NOTE,
            "Docker is installed, but you may not use it: running as processes (fix: sudo usermod -aG docker $USER)",
        ),
        "silent": Line(Mark.NOTE, "Docker is installed, but does not answer: running as processes"),
    }
    return found.get(machine.docker, Line(Mark.GOOD, "no Docker: running as processes"))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
