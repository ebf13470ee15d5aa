"""Dramatiq with its Redis broker and its Redis result backend, results by BRPOPLPUSH.

Worker: its own command with `--processes 1 --threads 4` (default 8: more only wait for the interpreter's lock) and
`dramatiq_queue_prefetch=1000` (default twice the threads); middleware that tasks without limits do not need is left
out. Client: 2 threads send and wait, since nothing sends in batches.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import dramatiq.brokers.redis
import dramatiq.middleware
import dramatiq.results
import dramatiq.results.backends

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

THREADS, AT_ONCE, PATIENCE_MS = 64, 2, 60_000
WORKER = ("tests.bench.queues.peer_dramatiq:broker", "--processes", "1", "--threads", "4")


def do_nothing() -> int:
    """Do nothing."""
    return NOTHING


results: Any = dramatiq.results.Results(backend=dramatiq.results.backends.RedisBackend(url=redis_url()))
broker: Any = dramatiq.brokers.redis.RedisBroker(url=redis_url(), middleware=[dramatiq.middleware.Retries(), results])
dramatiq.set_broker(broker)
nothing: Any = dramatiq.actor(do_nothing, actor_name="nothing", store_results=True)


def several(count: int) -> None:
    """Publish so many, then wait for them in order."""
    messages = [nothing.send() for _ in range(count)]
    check(message.get_result(block=True, timeout=PATIENCE_MS) for message in messages)


class Dramatiq:
    """Its client; each waiting task of the open load has a thread."""

    async def burst(self, count: int) -> None:
        sizes = [count // AT_ONCE + (number < count % AT_ONCE) for number in range(AT_ONCE)]
        await asyncio.gather(*(asyncio.to_thread(several, size) for size in sizes))

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(lambda: asyncio.to_thread(several, 1), per_s, count)


async def ask() -> None:
    """Be the client."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    await serve(Dramatiq())


if __name__ == "__main__":
    if "worker" in sys.argv:
        environment = os.environ | {"dramatiq_queue_prefetch": "1000"}
        os.execve(sys.executable, [sys.executable, "-m", "dramatiq", *WORKER], environment)
    asyncio.run(ask())
