"""Removes each guard once, in a copy of the tree, and asks the test that is named for it."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tests.mutations.guard import ROOT, Guard
from tests.mutations.guards import GUARDS

COPIED = ("appliance", "agent_image", "control_plane", "nginx", "tests")
Outcome = Literal["caught", "SURVIVED", "BROKEN"]
_PATIENCE_S, _PATIENCE_A_TEST_S = 300.0, 10.0


class Found(NamedTuple):
    """What became of one guard's removal; BROKEN: the test could not run, so that it says nothing."""

    guard: Guard
    outcome: Outcome
    seconds: float
    said: str


def copy_tree(to: Path) -> None:
    """Copy what the tests need; what was compiled stays behind."""
    for name in COPIED:
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)


def ask(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests in the copy; return pytest's exit code and what it said."""
    # Without bytecode: a file changed twice within a second would be taken for the one compiled before.
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-x", "--tb=short", *tests]
    within_s = _PATIENCE_S + _PATIENCE_A_TEST_S * len(tests)
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=within_s)
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {within_s} s"
    return done.returncode, done.stdout + done.stderr


def without(tree: Path, guard: Guard) -> Found:
    """Take one guard out, ask its test, put the guard back."""
    file, began = tree / guard.file, time.monotonic()
    source = file.read_text()
    try:
        file.write_text(guard.taken_out(source))
        code, said = ask(tree, [guard.test])
    finally:
        file.write_text(source)
    # A test that failed, not one that could not begin because the product no longer starts.
    failed = code == 1 and re.search(r"^\d+ failed", said.splitlines()[-1]) is not None
    outcome: Outcome = "caught" if failed else "SURVIVED" if code == 0 else "BROKEN"
    return Found(guard, outcome, round(time.monotonic() - began, 1), said)


def show(found: Found) -> None:
    """Print one line of the table; all that was said when the guard was not missed."""
    print(f"{found.outcome:<9}{found.seconds:>5.1f} s  {found.guard.name:<50} {found.guard.test}", flush=True)  # noqa: T201
    if found.outcome != "caught":
        print(found.said)  # noqa: T201


def run(guards: Sequence[Guard]) -> list[Found]:
    """Take the guards out one after the other.

    Raises:
        SystemExit: a named test fails although nothing was taken out.
    """
    with tempfile.TemporaryDirectory(prefix="nexus-mutations-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        code, said = ask(tree, sorted({guard.test for guard in guards}))
        if code:
            sys.exit(f"the named tests do not pass with all guards in place:\n{said}")
        found = []
        for guard in guards:
            found.append(without(tree, guard))
            show(found[-1])
    return found


def main() -> None:
    """Print the table, write the JSON, exit with 1 if a guard can be missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="guards whose name contains this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = run([guard for guard in GUARDS if arguments.only in guard.name])
    survived = [it for it in found if it.outcome != "caught"]
    print(f"{len(found) - len(survived)} of {len(found)} removals were noticed")  # noqa: T201
    if arguments.json:
        rows = [{"guard": it.guard.name, "file": it.guard.file, "test": it.guard.test, "outcome": it.outcome,
                 "seconds": it.seconds} for it in found]  # fmt: skip
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(bool(survived) or not found)


if __name__ == "__main__":
    main()
