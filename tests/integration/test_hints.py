"""Hints may be missed: whoever listens again looks for itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest

from agent_image.runner.tasks.board import Board
from agent_image.runner.tasks.teller import Teller
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.task_batches import TaskBatches
from appliance.core.task_stream import TaskStream
from tests.stores import Stores
from tests.waiting import wait_until


@pytest.fixture
async def looks(stores: Stores) -> AsyncIterator[list[None]]:
    """How often a board, which listens meanwhile, said that tasks may wait."""
    found: list[None] = []
    redis = Redis(stores.settings("runner", redis_key_prefix=f"t{uuid4().hex[:6]}:"))
    batches = TaskBatches(Postgres(stores.settings(), application="test"), timeout_s=1, max_queued=1)
    teller = Teller(redis, TaskStream(redis), lambda: None)
    listening = asyncio.create_task(Board(redis, batches, teller, lambda: 1, lambda: found.append(None)).run())
    yield found
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
    await redis.aclose()


async def test_whoever_could_not_listen_for_tasks_looks_as_soon_as_it_can_again(
    stores: Stores, looks: list[None]
) -> None:
    async def looked_again() -> bool:
        return len(looks) > before

    before = 0
    await wait_until(looked_again, of="a look when it begins to listen")
    before = len(looks)
    admin = Redis(stores.settings())
    assert await admin.data.client_kill_filter(_type="pubsub")
    await wait_until(looked_again, of="a look after it was cut off")
    await admin.aclose()
