"""What this machine is and has: facts only, gathered without changing anything."""

import ctypes
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6", "libz.so.1": "zlib1g"}
"""Of the system, needed by the servers in the wheels: file and Debian package."""
_GB = 1_000_000_000


@dataclass(frozen=True)
class Machine:
    """The facts on which the decision to start rests."""

    system: str = "Linux"
    cpu: str = "x86_64"
    glibc: tuple[int, int] | None = (2, 36)
    implementation: str = "cpython"
    python: tuple[int, int] = (3, 11)
    name: str = ""
    memory_gb: float = 0.0
    disk_gb: float = 0.0
    is_root: bool = False
    has_apt: bool = True
    missing_packages: tuple[str, ...] = field(default=())
    user_namespaces: bool = True
    docker: str = "absent"
    """absent, answers, forbidden (installed, but not for this user) or silent (installed, but not running)."""


def look(folder: Path) -> Machine:
    """Gather the facts; `folder` is where data and packages will be."""
    is_root = os.geteuid() == 0
    return Machine(
        system=platform.system(),
        cpu=platform.machine(),
        glibc=_glibc(),
        implementation=sys.implementation.name,
        python=sys.version_info[:2],
        name=_name(),
        memory_gb=_memory_bytes() / _GB,
        disk_gb=shutil.disk_usage(_nearest_existing(folder)).free / _GB,
        is_root=is_root,
        has_apt=shutil.which("apt-get") is not None,
        missing_packages=_missing_packages(is_root),
        user_namespaces=not is_root or _user_namespaces(),
        docker=docker_state(),
    )


def _glibc() -> tuple[int, int] | None:
    """The C library's version; None on musl and others."""
    try:
        kind, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        major, minor = version.split(".")[:2]
        return (int(major), int(minor)) if kind == "glibc" else None
    except (ValueError, OSError):
        return None


def _name() -> str:
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return f"{found.get('NAME', 'Linux').removesuffix(' GNU/Linux')} {found.get('VERSION_ID', '')}".strip()


def _memory_bytes() -> int:
    """What may still be used: of the machine, or of the container's limit where that is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available
    return min(available, limit - used)


def _nearest_existing(folder: Path) -> Path:
    return folder if folder.exists() else _nearest_existing(folder.parent)


def _missing_packages(is_root: bool) -> tuple[str, ...]:
    """Debian's names of what is not there."""
    missing = [package for library, package in LIBRARIES.items() if not _loads(library)]
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        missing.insert(0, f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    if is_root and not shutil.which("unshare"):
        missing.append("util-linux")
    return tuple(missing)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _user_namespaces() -> bool:
    """Whether root may be somebody else in a namespace, as PostgreSQL wants (DESIGN 14)."""
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=5).returncode == 0
    except OSError:
        return True  # unshare itself is missing: said as a missing package


def docker_state() -> str:
    """Whether there is a Docker Engine for this user: absent, answers, forbidden or silent."""
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not path.startswith("unix://"):
        return "absent"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(path.removeprefix("unix://"))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return "answers" if b" 200 " in connection.recv(64) else "silent"
    except PermissionError:
        return "forbidden"
    except OSError:
        return "silent" if shutil.which("docker") else "absent"
