"""A task that is cancelled in a store's call ends, whatever the libraries below do with the cancellation."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from appliance.core import event_bus
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from tests.stores import Stores

CANCELLED = 60
"""Without `cancellation.kept` about one in four goes on for ever."""
Step = Callable[[Redis, Postgres], Awaitable[object]]


async def hints(redis: Redis) -> None:
    async for _ in event_bus.listen(redis, "health"):
        pass


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda redis, _: Registry(redis).view(), id="a function"),
        pytest.param(lambda redis, _: hints(redis), id="hints"),
        pytest.param(lambda _, postgres: postgres.rows("ping"), id="a statement"),
    ],
)
async def test_a_cancelled_task_ends(stores: Stores, step: Step) -> None:
    redis = Redis(stores.settings(redis_key_prefix=f"t{uuid4().hex[:6]}:"))
    postgres, phases = Postgres(stores.settings(), application="test"), random.Random(2)
    await redis.load_library()
    await Registry(redis).initialise(uuid4().hex, 0)
    await postgres.open()

    async def for_ever() -> None:
        while True:
            await step(redis, postgres)

    try:
        for number in range(CANCELLED):
            task = asyncio.create_task(for_ever())
            await asyncio.sleep(phases.uniform(0, 0.004))
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=5)
            assert done, f"cancellation {number} was lost"
    finally:
        await postgres.aclose()
        await redis.aclose()
