"""`python3 -m appliance …` with a bare system Python: look, install, then become the command line in `.venv`."""

import itertools
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from appliance.embedded.bootstrap import machine, models
from appliance.embedded.bootstrap.install import CHECKOUT, DEV, PYTHON, RUNTIME, InstallFailed, Lock, install
from appliance.embedded.bootstrap.verdict import Line, Mark, Needs, findings

INSTALL = "install"
"""A command of this module alone: `python3 -m appliance install [--dev]`."""


def main(arguments: list[str]) -> int:
    """Carry out the command; returns only when it does not become the command line."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return _carry_out(arguments)
    except InstallFailed as failure:
        print(f"  {Mark.BLOCKED.value} {failure}")
    except KeyboardInterrupt:
        print("\nInterrupted; what is done stays done, run it again to go on.")
    return 1


def _carry_out(arguments: list[str]) -> int:
    command = next((word for word in arguments if not word.startswith("-")), "")
    locks = (RUNTIME, DEV) if command == INSTALL and "--dev" in arguments else (RUNTIME,)
    if command not in ("up", INSTALL):
        if not RUNTIME.is_installed:
            print("Nexus is not installed here yet: run `make up` first.")
            return 1
        return _become(arguments, {})
    found = _look(arguments, locks)
    if found is None:
        return 1
    if command == INSTALL:
        return 0
    return _become(arguments, found)


def _look(arguments: list[str], locks: tuple[Lock, ...]) -> dict[str, object] | None:
    """Look, print, and install what is missing; None when this machine will not do."""
    missing = [lock for lock in locks if not lock.is_installed]
    needs = Needs(*(sum(lock.size(what) for lock in missing) for what in ("download", "installed")))
    facts = machine.look(CHECKOUT)
    lines = findings(facts, needs)
    print("Looking (nothing changed yet)")
    _show(lines)
    if any(line.mark is Mark.BLOCKED for line in lines):
        return None
    model_facts = models.look() if INSTALL not in arguments else models.Models()
    if INSTALL not in arguments:
        _show(models.findings(model_facts))
    download = f", to download {needs.download_mb} MB, on disk {needs.installed_mb} MB" if missing else ""
    print(f"Starting (data in {_home(arguments)}{download})" if INSTALL not in arguments else f"Installing{download}")
    seconds = install(*locks)
    if missing:
        print(f"  {Mark.GOOD.value} packages {seconds:.0f} s")
    return {"machine": asdict(facts), "models": asdict(model_facts), "install_s": seconds if missing else 0.0}


def _show(lines: list[Line]) -> None:
    for line in lines:
        print(f"  {line.mark.value} {line.text}", flush=True)


def _home(arguments: list[str]) -> str:
    """The home as it will be, for people."""
    given = [word.partition("=")[2] for word in arguments if word.startswith("--home=")]
    given += [after for word, after in itertools.pairwise(arguments) if word == "--home"]
    home = Path(given[0]) if given else CHECKOUT / ".nexus"
    return f"./{home.relative_to(Path.cwd())}" if home.is_relative_to(Path.cwd()) else str(home)


def _become(arguments: list[str], found: dict[str, object]) -> int:
    """Turn into the command line, which sees what the look found in NEXUS_LOOK."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "NEXUS_LOOK": json.dumps(found)}
    sys.stdout.flush()
    os.execve(PYTHON, [str(PYTHON), "-P", "-m", "appliance.cli", *arguments], environment)  # noqa: S606
