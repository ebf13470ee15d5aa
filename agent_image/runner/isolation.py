"""A suspect runs alone: what was there when two runners died is given a runner of its own (PROTOCOLS 7.6).

So the third death hits the culprit only, and whoever merely stood beside it is cleared.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from appliance.core import logs
from appliance.core.clock import beat, monotonic

log = logs.get("runner")
SUSPECT_AFTER = 2
"""Deaths of runners after which what they ran runs alone."""
TURN_WAITS_S, TASK_WAITS_S = 2.0, 60.0
"""A suspect waits so long for others to end; somebody waits in front of a turn."""
_LOOK_S = 0.05


class Isolation:
    """One suspect at a time; while there is one, nothing new begins."""

    def __init__(self, load: Callable[[], int]) -> None:
        self._load = load
        self._turnstile = asyncio.Lock()
        self._suspects = 0

    @property
    def closed(self) -> bool:
        """Whether a suspect runs here, or waits to."""
        return self._suspects > 0

    @asynccontextmanager
    async def of(self, name: str, crash_count: int, waits_s: float) -> AsyncIterator[None]:
        """Let a suspect run alone inside, as soon as the others have ended; anybody else at once."""
        if crash_count < SUSPECT_AFTER:
            yield
            return
        self._suspects += 1
        try:
            async with self._turnstile:
                await self._others_end(waits_s)
                log.warning("suspect_runs_alone", task=name, crashes=crash_count)
                yield
        finally:
            self._suspects -= 1

    async def _others_end(self, within_s: float) -> None:
        """Wait until only suspects are left: one that is about to run, and those behind it."""
        until = monotonic() + within_s
        while self._load() > self._suspects and monotonic() < until:
            await beat(_LOOK_S)
