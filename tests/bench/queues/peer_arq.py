"""Arq: a sorted set that the worker polls, results that the client polls.

Worker: `max_jobs=100`, `poll_delay=0.01` (default 0.5: half a second of latency), `queue_read_limit=1000`, uvloop.
Client: enqueues 100 at a time, since nothing enqueues in batches, over 100 connections, and awaits results 100 at a
time with `poll_delay=0.01` (default 0.5); more pollers only load Redis.
"""

import asyncio
import sys
from typing import Any

import arq
import arq.connections
import arq.worker
import uvloop

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

AT_ONCE, POLL_S = 100, 0.01


async def nothing(_: Any) -> int:
    """Do nothing."""
    return NOTHING


def settings() -> Any:
    """Return where Redis is."""
    return arq.connections.RedisSettings.from_dsn(redis_url())


async def work() -> None:
    """Run tasks until ended."""
    worker = arq.worker.Worker(
        [nothing], redis_settings=settings(), max_jobs=100, poll_delay=POLL_S, queue_read_limit=1000, log_results=False
    )
    await worker.main()


class Arq:
    """Its client."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def burst(self, count: int) -> None:
        jobs: list[Any] = []
        for at in range(0, count, AT_ONCE):
            some = (self._pool.enqueue_job("nothing") for _ in range(min(AT_ONCE, count - at)))
            jobs += await asyncio.gather(*some)
        for at in range(0, count, AT_ONCE):
            check(await asyncio.gather(*(job.result(poll_delay=POLL_S) for job in jobs[at : at + AT_ONCE])))

    async def _one(self) -> None:
        job = await self._pool.enqueue_job("nothing")
        check([await job.result(poll_delay=POLL_S)])

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(self._one, per_s, count)


async def ask() -> None:
    """Be the client."""
    await serve(Arq(await arq.create_pool(settings())))


if __name__ == "__main__":
    uvloop.run(work() if "worker" in sys.argv else ask())
