"""The beat that loops share, so that an idle program wakes once for all of them."""

import asyncio
import itertools

from appliance.core.clock import beat

PERIOD_S = 0.05


async def test_loops_that_share_the_beat_wake_together() -> None:
    now = asyncio.get_running_loop().time
    woken: list[float] = []

    async def loop(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        for _ in range(4):
            await beat(PERIOD_S)
            woken.append(now())

    await asyncio.gather(*(loop(delay_s) for delay_s in (0.0, 0.007, 0.013)))
    gaps = [later - sooner for sooner, later in itertools.pairwise(sorted(woken))]
    assert sum(gap > PERIOD_S / 5 for gap in gaps) <= 5, "twelve wakings lie on six beats at most"


async def test_a_beat_comes_once_and_after_a_period_at_the_latest() -> None:
    now = asyncio.get_running_loop().time
    await beat(PERIOD_S)
    before = now()
    late_s = await beat(PERIOD_S)
    assert 0.5 * PERIOD_S < now() - before < 1.2 * PERIOD_S + late_s + 0.01
