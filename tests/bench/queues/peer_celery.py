"""Celery with Redis as broker and as result backend, results by publish/subscribe.

Worker: `--pool solo`, one process that runs task after task (for tasks that do nothing it is faster than prefork with
one child and than threads: no hand-over), without gossip, mingle and heartbeat, `worker_prefetch_multiplier=1000`.
Client: a `group` of 500 shares one connection of the broker; results with `join_native`, the documented quick way.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celery

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

BATCH, THREADS, PATIENCE_S = 500, 64, 60


def do_nothing() -> int:
    """Do nothing."""
    return NOTHING


app: Any = celery.Celery("bench", broker=redis_url(), backend=redis_url())
app.conf.update(
    worker_prefetch_multiplier=1000, worker_hijack_root_logger=False, task_send_sent_event=False,
    worker_send_task_events=False, broker_connection_retry_on_startup=True, result_expires=600,
    redis_max_connections=200,
)  # fmt: skip
nothing: Any = app.task(do_nothing, name="nothing")


def burst(count: int) -> None:
    """Publish groups, then wait for all of them."""
    sizes = [min(BATCH, count - at) for at in range(0, count, BATCH)]
    for result in [celery.group(nothing.s() for _ in range(size)).apply_async() for size in sizes]:
        check(result.join_native(timeout=PATIENCE_S))


def one() -> None:
    """Publish one and wait for it."""
    check([nothing.delay().get(timeout=PATIENCE_S)])


class Celery:
    """Its client; each waiting task of the open load has a thread."""

    async def burst(self, count: int) -> None:
        await asyncio.to_thread(burst, count)

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(lambda: asyncio.to_thread(one), per_s, count)


async def ask() -> None:
    """Be the client."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    await serve(Celery())


if __name__ == "__main__":
    if "worker" in sys.argv:
        options = ["--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
        app.worker_main(["worker", *options])
    else:
        asyncio.run(ask())
