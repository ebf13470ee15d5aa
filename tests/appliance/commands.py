"""One appliance in a home of its own, driven by `nexus` commands."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.cluster import ROOT

UP_WITHIN_S = 180
ANSWER_TOKENS = "256"
"""Enough for a fail-over in mid-answer, and quick on a busy machine."""


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
