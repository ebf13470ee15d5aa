"""The pool of connections: what its callers may rely on."""

import asyncio
import random

from appliance.core.postgres import Postgres
from tests.stores import Stores

CANCELLED = 400


async def test_a_task_that_is_cancelled_in_a_statement_ends(stores: Stores) -> None:
    """Before Python 3.12 `asyncio.wait_for`, which psycopg waits with, loses a cancellation that meets an answer."""
    postgres, phases = Postgres(stores.settings(), application="test"), random.Random(1)
    await postgres.open()

    async def for_ever() -> None:
        while True:
            await postgres.rows("ping")

    try:
        for _ in range(CANCELLED):
            task = asyncio.create_task(for_ever())
            await asyncio.sleep(phases.uniform(0, 0.003))
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=5)
            assert done, "the cancellation was lost"
    finally:
        await postgres.aclose()
