"""Refreshes the files of others: `python -m appliance.web.vendor` packs each package with npm and takes what we serve.

The versions stand in `static/vendor/VENDOR.toml`; raise one there and run this. It writes the new sums, nothing else.
"""

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from appliance.core.errors import CannotStart

FOLDER = Path(__file__).parent / "static" / "vendor"
MANIFEST = FOLDER / "VENDOR.toml"


def manifest() -> dict[str, dict[str, Any]]:
    """Return what is vendored: name → version, npm, licence, files (each `from` and `sha256`)."""
    return tomllib.loads(MANIFEST.read_text())


def digest(content: bytes) -> str:
    """Return the sum that VENDOR.toml keeps of a file."""
    return hashlib.sha256(content).hexdigest()


def refresh() -> list[str]:
    """Fetch every package at its version, write its files and their sums; return the names of files that changed.

    Raises:
        CannotStart: npm is missing or does not have this version.
    """
    text, changed = MANIFEST.read_text(), []
    for package in manifest().values():
        with tempfile.TemporaryDirectory() as folder, tarfile.open(_packed(package, Path(folder))) as archive:
            for name, file in package["files"].items():
                member = archive.extractfile(file["from"])
                content = member.read() if member else b""
                if digest(content) != file["sha256"]:
                    (FOLDER / name).write_bytes(content)
                    text = re.sub(rf'("{re.escape(name)}".*sha256 = ")\w+', rf"\g<1>{digest(content)}", text)
                    changed.append(name)
    MANIFEST.write_text(text)
    return changed


def _packed(package: dict[str, Any], folder: Path) -> Path:
    wanted = f"{package['npm']}@{package['version']}"
    try:
        subprocess.run(["npm", "pack", "--silent", wanted], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotStart(f"npm could not pack {wanted}: {getattr(error, 'stderr', b'').decode() or error}") from None
    return next(folder.glob("*.tgz"))


if __name__ == "__main__":
    sys.stdout.write("".join(f"changed: {name}\n" for name in refresh()) or "everything is as it was\n")
