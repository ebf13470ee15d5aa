"""Streaq: Redis streams and Lua, results by publish/subscribe.

Worker: `concurrency=1000` (default 16), `prefetch=1000`, uvloop. Client: `enqueue_many`, which is one pipeline, with
500 tasks; results are awaited 150 at a time. Each of these is a subscription on a connection of its own, so the pool
has 200 (default 64: more waiters than connections wait for each other for ever), and leaving one takes the 0.1 s that
coredis waits for the end of the subscription.
"""

import asyncio
import sys
from typing import Any

import streaq
import uvloop

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

BATCH, AT_ONCE, CONNECTIONS = 500, 150, 200


async def do_nothing() -> int:
    """Do nothing."""
    return NOTHING


worker: Any = streaq.Worker(
    redis_url=redis_url(), redis_kwargs={"max_connections": CONNECTIONS}, concurrency=1000, prefetch=1000,
    anyio_kwargs={"use_uvloop": True},
)  # fmt: skip
nothing: Any = worker.task(name="nothing", silent=True)(do_nothing)


class Streaq:
    """Its client."""

    async def burst(self, count: int) -> None:
        tasks: list[Any] = []
        for at in range(0, count, BATCH):
            some = [nothing.enqueue() for _ in range(min(BATCH, count - at))]
            await worker.enqueue_many(some)
            tasks += some
        for at in range(0, count, AT_ONCE):
            found = await asyncio.gather(*(task.result() for task in tasks[at : at + AT_ONCE]))
            check(it.result for it in found)

    async def _one(self) -> None:
        task = await nothing.enqueue()
        found = await task.result()
        check([found.result])

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(self._one, per_s, count)


async def ask() -> None:
    """Be the client."""
    async with worker:
        await serve(Streaq())


if __name__ == "__main__":
    if "worker" in sys.argv:
        worker.run_sync()
    else:
        uvloop.run(ask())
