"""One reading for all open pages: a bad one, or one that never ends, is left behind."""

import asyncio

import pytest

from control_plane import live
from control_plane.live import Live


class Readings:
    """Readings as told: a number, an error, or one that ignores that it is cancelled."""

    def __init__(self, *script: int | str) -> None:
        self.script = list(script)
        self.let_go = asyncio.Event()

    async def read(self) -> int:
        now = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        while now == "deaf" and not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue
        if isinstance(now, str):
            raise ValueError(now)
        return now


@pytest.mark.parametrize("trouble", ["bad", "deaf"])
async def test_pages_go_on_behind_a_reading_that_fails_or_hears_no_cancellation(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "READ_S", 0.05)
    readings = Readings(1, trouble, 2)
    watched: Live[int] = Live(readings.read, every_s=0.01)
    seen = watched.readings()
    try:
        async with asyncio.timeout(10):
            while await anext(seen) != 2:
                pass
    finally:
        readings.let_go.set()
        await seen.aclose()
        await watched.aclose()


async def test_nobody_reads_once_nobody_watches() -> None:
    readings = Readings(1)
    watched: Live[int] = Live(readings.read, every_s=0.01)
    seen = watched.readings()
    assert await anext(seen) == 1
    await seen.aclose()
    reader = watched._reader
    assert reader is not None
    await asyncio.wait_for(reader, 10)
    assert watched._reader is None
    await watched.aclose()
