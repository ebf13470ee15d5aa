"""Pages that keep themselves up to date: one reading of the cluster, fanned out to every open browser."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
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

    async def readings(self) -> AsyncGenerator[Reading, None]:
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
        """Read; one bad or endless reading must not freeze every open page for ever.

        An endless one is left behind, not only cancelled: Python 3.11's wait_for can lose a cancellation.
        """
        reading = asyncio.ensure_future(self._read())
        try:
            done, _ = await asyncio.wait((reading,), timeout=READ_S)
        finally:
            reading.cancel()
        if not done:
            log.error("reading_endless", seconds=READ_S)
            return
        if error := reading.exception():
            log.error("reading_failed", error=repr(error), exc_info=error)
            return
        self._newest = reading.result()
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
