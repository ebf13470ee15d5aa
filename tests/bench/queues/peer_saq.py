"""Saq: Redis lists, results polled by `Queue.map` for many and `Queue.apply` for one.

Worker: `concurrency=50` (default 10), uvloop, orjson. Its sweep, else every minute, takes tasks that were just dequeued
for lost ones and aborts them (0.26.4): its timer is an hour, and the client waits until the first sweep is over.
Client: `Queue.map` in batches of 500 at a `poll_interval` of 20 ms (default 500), `max_concurrent_ops=100` (default
20); one task is awaited with `apply` at 5 ms.
"""

import asyncio
import sys
from typing import Any

import orjson
import saq
import uvloop

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

CONCURRENCY, BATCH, POLL_S, POLL_ONE_S = 50, 500, 0.02, 0.005


async def nothing(_: Any) -> int:
    """Do nothing."""
    return NOTHING


def queue() -> Any:
    """Return the queue."""
    return saq.Queue.from_url(redis_url(), dump=orjson.dumps, load=orjson.loads, max_concurrent_ops=100)


async def work() -> None:
    """Run tasks until ended."""
    await saq.Worker(queue(), [nothing], concurrency=CONCURRENCY, timers={"sweep": 3600}).start()


class Saq:
    """Its client."""

    def __init__(self) -> None:
        self._queue = queue()

    async def burst(self, count: int) -> None:
        sizes = [min(BATCH, count - at) for at in range(0, count, BATCH)]
        maps = (self._queue.map("nothing", [{}] * size, poll_interval=POLL_S) for size in sizes)
        for found in await asyncio.gather(*maps):
            check(found)

    async def _one(self) -> None:
        check([await self._queue.apply("nothing", poll_interval=POLL_ONE_S)])

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(self._one, per_s, count)


async def ask() -> None:
    """Be the client, once the worker has said that it is there."""
    looking = queue()
    while not (await looking.info())["workers"]:
        await asyncio.sleep(0.02)
    await looking.disconnect()
    await serve(Saq())


if __name__ == "__main__":
    uvloop.run(work() if "worker" in sys.argv else ask())
