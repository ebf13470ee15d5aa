"""What the images stand on: Debian pulled, or made of Debian's packages where no image registry answers; and wheels."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.containers.engine import Engine, Shown
from appliance.containers.images import LOCK, extra_authority
from appliance.containers.places import APT_CONF, BUILD, WHEELS
from appliance.core.errors import CannotStart

SUITE = "trixie"
PYTHON = "3.13"
"""What Debian trixie has."""
PULLED = f"debian:{SUITE}-slim"
DEBIAN = f"nexus/debian:{SUITE}"
"""The base as this machine has it, wherever it came from."""
_PULL_S = 180
DOWNLOAD_MB = 410
"""What the images are made of: packages of Python and of Debian."""
_APT = re.compile(r"^Acquire::(?:https?::|ForceIPv|Check-)\S* \"[^\"]*\";$", re.MULTILINE)


@contextmanager
def alone() -> Iterator[None]:
    """One build at a time, whatever home it is for: they share the folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def debian(engine: Engine, say: Shown) -> str:
    """Return the base image, made or pulled when it is not there yet.

    Raises:
        CannotStart: neither works here; says what to type.
    """
    _write_apt_conf()
    if engine.has_image(DEBIAN):
        return DEBIAN
    if _pull(engine):
        engine.run("tag", PULLED, DEBIAN)
    else:
        say("no image registry answers: making the base image of Debian's packages")
        bootstrap(engine)
    return DEBIAN


def _pull(engine: Engine) -> bool:
    try:
        engine.run("pull", "--quiet", PULLED, within_s=_PULL_S)
    except CannotStart:
        return False
    return True


def bootstrap(engine: Engine) -> None:
    """Make the base of Debian's packages; CannotStart says what to type when this user may not."""
    tar = BUILD / f"{SUITE}.tar"
    command = bootstrap_command(tar)
    if not tar.exists():
        if os.geteuid() != 0:
            raise CannotStart(
                f"There is no base image yet, no image registry answers, and making one needs root. Type this once, "
                f"then `make up` again:\n    sudo sh -c '{command}'"
            )
        if not shutil.which("debootstrap"):
            raise CannotStart("Making the base image needs debootstrap: apt-get install -y debootstrap")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStart(f"debootstrap failed: {(done.stdout + done.stderr).strip()[-500:]}")
    engine.run("import", str(tar), DEBIAN)
    tar.unlink()


def bootstrap_command(tar: Path) -> str:
    """Return the shell command that makes the base's archive, as root; whoever typed `up` may read and delete it."""
    folder = f"$(mktemp -d {tempfile.gettempdir()}/nexus-debian.XXXXXX)"
    mirror = os.environ.get("NEXUS_DEBIAN_MIRROR", "")
    return (
        f"set -e; d={folder}; debootstrap --variant=minbase {SUITE} $d {mirror} >/dev/null; "
        f"rm -rf $d/var/cache/apt/archives/*.deb $d/var/lib/apt/lists/*; "
        f"tar -C $d -cf {tar}.new .; chown {os.getuid()} {tar}.new; mv {tar}.new {tar}; rm -rf $d"
    )


def _write_apt_conf() -> None:
    """Let builds reach Debian's packages as this machine does: through its proxies, with its authorities."""
    found = []
    if shutil.which("apt-config"):
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
        # A proxy's password must not stand in an image: such a proxy is given as HTTP_PROXY instead.
        found = [line for line in _APT.findall(dump) if '""' not in line and "@" not in line]
    if extra_authority():
        found.append('Acquire::https::CAInfo "/usr/local/share/ca-certificates/host.crt";')
    APT_CONF.write_text("".join(f"{line}\n" for line in found))


def collect_wheels() -> None:
    """Download the locked packages for the images' Python, checked by hash, unless they are all there.

    Raises:
        CannotStart: the package registry does not give them.
    """
    stamp, wanted = WHEELS / "complete", LOCK.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    WHEELS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    command += [
        "--no-deps",
        "--no-input",
        "--python-version",
        PYTHON,
        "--dest",
        str(WHEELS),
        "--requirement",
        str(LOCK),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"The packages for the images cannot be downloaded: {done.stderr.strip()[-500:]}")
    stamp.write_text(wanted)
