"""Looking at boxes from outside: which of their processes live, whoever says what."""

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_image.runner.tools.terminal import trial

WHY_NOT = trial.forbidden() or trial.missing()
"""What this machine lacks. Not `why_not`: a box that is broken must fail its tests, not skip them."""
needs_boxes = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "")

RUNNER = "import asyncio, sys; from agent_image.runner.tools.terminal import Limits, run; "
RUNNER += "print(asyncio.run(run(sys.argv[1], Limits(seconds=float(sys.argv[2])))).output)"


@contextmanager
def marked_sleep() -> Iterator[tuple[str, str]]:
    """Give a command that sleeps for years, and the mark by which it is found; nothing of it stays, come what may."""
    mark = f"{uuid.uuid4().int % 10**12 + 10**12}"
    try:
        yield f"sleep {mark}", mark
    finally:
        for pid in traces(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def living(mark: str) -> list[int]:
    """Return the processes of this machine that were started to sleep for `mark` seconds."""
    return [pid for pid, words in _processes() if words[:2] == ["sleep", mark]]


def traces(mark: str) -> list[int]:
    """Return every process that was told of `mark`, those that make its box among them."""
    return [pid for pid, words in _processes() if any(mark in word for word in words)]


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((int(folder.name), (folder / "cmdline").read_text().split("\0")))
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int:
    """Return a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def runner_of(command: str, seconds: float) -> list[str]:
    """Return what starts a process of its own that runs `command` in a box, as a runner does."""
    return [sys.executable, "-P", "-c", RUNNER, command, str(seconds)]
