"""Taskiq with taskiq-redis: RedisStreamBroker and RedisAsyncResultBackend, results polled.

Worker: its own command with `--workers 1`, `--max-async-tasks 1000`, `--max-prefetch 1000`, `xread_count=1000`
(default 100) and uvloop. Client: 100 tasks at a time, since nothing enqueues in batches; results are polled 100 at a
time with `check_interval=0.01` (default 0.2).
"""

import asyncio
import os
import sys
from typing import Any

import taskiq_redis
import uvloop

from tests.bench.queues.client import NOTHING, arriving, check, redis_url, serve

AT_ONCE, POLL_S = 100, 0.01
WORKER = ("worker", "tests.bench.queues.peer_taskiq:broker", "--workers", "1", "--max-async-tasks", "1000",
          "--max-prefetch", "1000", "--no-parse", "--log-level", "WARNING")  # fmt: skip


async def do_nothing() -> int:
    """Do nothing."""
    return NOTHING


results: Any = taskiq_redis.RedisAsyncResultBackend(redis_url(), result_ex_time=600)
broker: Any = taskiq_redis.RedisStreamBroker(redis_url(), xread_count=1000).with_result_backend(results)
nothing: Any = broker.task(task_name="nothing")(do_nothing)


class Taskiq:
    """Its client."""

    async def burst(self, count: int) -> None:
        tasks: list[Any] = []
        for at in range(0, count, AT_ONCE):
            tasks += await asyncio.gather(*(nothing.kiq() for _ in range(min(AT_ONCE, count - at))))
        for at in range(0, count, AT_ONCE):
            some = (task.wait_result(check_interval=POLL_S) for task in tasks[at : at + AT_ONCE])
            check(found.return_value for found in await asyncio.gather(*some))

    async def _one(self) -> None:
        task = await nothing.kiq()
        found = await task.wait_result(check_interval=POLL_S)
        check([found.return_value])

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        return await arriving(self._one, per_s, count)


async def ask() -> None:
    """Be the client."""
    await broker.startup()
    await serve(Taskiq())


if __name__ == "__main__":
    if "worker" in sys.argv:
        os.execv(sys.executable, [sys.executable, "-m", "taskiq", *WORKER])
    uvloop.run(ask())
