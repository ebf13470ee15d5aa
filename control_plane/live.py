"""Pages that keep themselves up to date: one reading of the cluster, fanned out to every open browser."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from appliance.core import logs

log = logs.get("control-plane")
EVERY_S, READ_S = 0.25, 10.0
PING = b"event: ping\ndata: {}\n\n"
Reading = TypeVar("Reading")


class Live(Generic[Reading]):
    """Reads while somebody watches; a reader that is slow misses readings, never delays others."""

    def __init__(self, read: Callable[[], Awaitable[Reading]], every_s: float = EVERY_S) -> None:
        self._read = read
        self._every_s = every_s
        self._watchers = 0
        self._newest: Reading | None = None
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def readings(self) -> AsyncIterator[Reading]:
        """Yield the cluster now and after each reading until the watcher goes."""
        self._watchers += 1
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._keep_reading(), name="live reading")
        try:
            while True:
                async with self._changed:
                    await self._changed.wait()
                if self._newest is not None:
                    yield self._newest
        finally:
            self._watchers -= 1

    async def _keep_reading(self) -> None:
        while self._watchers:
            await self._read_once()
            await asyncio.sleep(self._every_s)
        self._reader = None

    async def _read_once(self) -> None:
        try:
            async with asyncio.timeout(READ_S):
                self._newest = await self._read()
        except Exception:  # one bad or endless reading must not freeze every open page for ever
            log.exception("reading_failed")
            return
        async with self._changed:
            self._changed.notify_all()

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader


async def as_sse(readings: AsyncIterator[Reading], render: Callable[[Reading], str]) -> AsyncIterator[bytes]:
    """Encode readings as server-sent events of HTML; an unchanged page is a ping."""
    shown = ""
    async for reading in readings:
        html = render(reading)
        yield PING if html == shown else "".join(f"data: {line}\n" for line in html.splitlines()).encode() + b"\n"
        shown = html
