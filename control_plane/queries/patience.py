"""Readings that a page does not hang on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class InTime(Generic[Found]):
    """A reading that is waited for only so long. A late one serves whoever asks next; there is never a second one."""

    def __init__(self, read: Callable[[], Awaitable[Found]], within_s: float) -> None:
        self._read = read
        self._within_s = within_s
        self._reading: asyncio.Task[Found] | None = None

    async def get(self) -> Found | None:
        """Return what was read, or None when it does not come in time; raises what the reading raised."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._once(), name="a reading")
        reading = self._reading  # whoever asks meanwhile may begin the next one
        done, _ = await asyncio.wait({reading}, timeout=self._within_s)
        return reading.result() if done else None

    async def _once(self) -> Found:
        return await self._read()
