"""Huey: a Redis list, results in a hash, told of by BLPOP.

Worker: its consumer with 2 threads (default 1; more only wait for the interpreter's lock), no periodic tasks. Client:
`notify_result=True`, so that waiting needs no polling; 8 threads enqueue, since nothing enqueues in batches, then take
their results in order.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import huey

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

WORKERS, THREADS, AT_ONCE, PATIENCE_S = 2, 64, 8, 60


def do_nothing() -> int:
    """Do nothing."""
    return NOTHING


queue: Any = huey.RedisHuey("bench", url=redis_url(), notify_result=True)
nothing: Any = queue.task(name="nothing")(do_nothing)


def several(count: int) -> None:
    """Publish so many, then wait for them in order."""
    results = [nothing() for _ in range(count)]
    check(result.get(blocking=True, timeout=PATIENCE_S) for result in results)


class Huey:
    """Its client; each waiting task of the open load has a thread."""

    async def burst(self, count: int) -> None:
        sizes = [count // AT_ONCE + (number < count % AT_ONCE) for number in range(AT_ONCE)]
        await asyncio.gather(*(asyncio.to_thread(several, size) for size in sizes))

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(lambda: asyncio.to_thread(several, 1), per_s, count)


async def ask() -> None:
    """Be the client."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    await serve(Huey())


if __name__ == "__main__":
    if "worker" in sys.argv:
        queue.create_consumer(workers=WORKERS, periodic=False).run()
    else:
        asyncio.run(ask())
