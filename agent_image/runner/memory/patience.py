"""Waits for something for so long and no longer, without cutting it off."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from appliance.core import logs

log = logs.get("memory")
T = TypeVar("T")


class Patience:
    """Keeps what nobody waits for any more to its end: a store's half-read answer would be the next caller's."""

    def __init__(self) -> None:
        self.late: set[asyncio.Task[Any]] = set()

    async def within(self, seconds: float, work: Coroutine[Any, Any, T], *, of: str) -> T | None:
        """Return what comes of `work`, or None when that takes longer; what it raises in time is raised."""
        task = asyncio.create_task(work, name=of)
        self.late.add(task)
        task.add_done_callback(self.late.discard)
        done, _ = await asyncio.wait([task], timeout=seconds)
        if done:
            return task.result()
        task.add_done_callback(_say)
        return None


def _say(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.info("late_and_failed", what=task.get_name(), error=repr(error))
