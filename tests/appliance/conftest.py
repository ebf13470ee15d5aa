"""One appliance in a home of its own; its path has a space and is 120 characters long, so that both always work."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from appliance.embedded.programs import free_port
from tests.cluster import ROOT

PATH_LENGTH = 120
UP_WITHIN_S = 180
ANSWER_TOKENS = "256"
"""Enough for a fail-over in mid-answer, and quick on a busy machine."""
TEST_WITHIN_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/appliance" in str(item.path) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_WITHIN_S))


class Appliance:
    """Runs `nexus` commands on one home, as a person would."""

    within_s = UP_WITHIN_S

    def __init__(self, home: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self.home = home
        self._settings = {"MODEL_MAX_TOKENS": ANSWER_TOKENS, **settings}

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command; nothing of this process's settings reaches it."""
        command = [sys.executable, "-P", "-m", "appliance.cli", *arguments, "--home", str(self.home)]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": os.environ.get("HOME", "/")}
        return subprocess.run(
            command,
            env=environment | self._settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=self.within_s,
            check=False,
        )

    async def nexus(self, *arguments: str, code: int = 0) -> str:
        """Run one command and return what it printed; fails when it ends with another code."""
        done = await asyncio.to_thread(self.start, *arguments)
        assert done.returncode == code, f"nexus {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    async def status(self, code: int = 0) -> dict[str, Any]:
        """Return `nexus status --json`."""
        return dict(json.loads(await self.nexus("status", "--json", code=code)))

    async def doctor(self, code: int = 1) -> dict[str, dict[str, str]]:
        """Return what `nexus doctor --json` found, by name."""
        found = json.loads(await self.nexus("doctor", "--json", code=code))
        return {finding["name"]: finding for finding in found}

    async def pid(self, service: str) -> int:
        """Return the process id of one program."""
        found = json.loads((await asyncio.to_thread(self.start, "status", "--json")).stdout)
        return int(next(it["pid"] for it in found["services"] if it["name"] == service))


@pytest.fixture(scope="session")
def appliance() -> Iterator[Appliance]:
    """An appliance that is up; tests that hurt it heal it."""
    base = Path(tempfile.mkdtemp(prefix="nexus appliance "))
    home = base / ("x" * (PATH_LENGTH - len(str(base)) - 1))
    running = Appliance(home)
    done = running.start("up", "--runtime", "embedded", "--port", str(free_port()))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield running
    finally:
        running.start("down")
        shutil.rmtree(base, ignore_errors=True)
