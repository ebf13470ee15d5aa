"""What a peer's client does for the benchmark: it reads orders as lines of JSON and answers each with one.

Standard library only: it runs with the python of the peer. Nexus's own client uses the same clock and the same loop.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

NOTHING = 0
"""What a task that does nothing returns."""


class Bursts(Protocol):
    """Publishes no-op tasks and awaits their results."""

    async def burst(self, count: int) -> None:
        """Publish so many at once; return when all results are here, each looked at."""


class Client(Bursts, Protocol):
    """The same for an open load."""

    async def latencies_ms(self, per_s: float, count: int) -> list[float]:
        """Publish so many evenly, whether or not earlier ones have ended; return how long each took."""


def redis_url() -> str:
    """Return the address of the Redis that worker and client share."""
    return os.environ["QUEUE_REDIS"]


def check(results: Iterable[object]) -> None:
    """Raise unless each result is what the task returns."""
    if wrong := [it for it in results if it != NOTHING]:
        raise ValueError(f"{len(wrong)} results are wrong, one is {wrong[0]!r}")


async def arriving(one: Callable[[], Awaitable[object]], per_s: float, count: int) -> list[float]:
    """Let tasks arrive evenly; a latency begins when its task was due, so that a late client is counted too."""
    began = time.perf_counter()

    async def timed(due: float) -> float:
        await one()
        return (time.perf_counter() - due) * 1000

    running = []
    for number in range(count):
        due = began + number / per_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        running.append(asyncio.create_task(timed(due)))
    return list(await asyncio.gather(*running))


async def timed_burst(client: Bursts, count: int) -> float:
    """Return the seconds from the first publication to the last result."""
    began = time.perf_counter()
    await client.burst(count)
    return time.perf_counter() - began


async def serve(client: Client) -> None:
    """Answer orders until the input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await _answer(client, json.loads(line))), flush=True)  # noqa: T201


async def _answer(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    try:
        if order["do"] == "burst":
            return {"seconds": await timed_burst(client, order["count"])}
        return {"latencies_ms": await client.latencies_ms(order["per_s"], order["count"])}
    except Exception as error:  # whatever a library raises is this peer's failure, told to who asked
        return {"failed": f"{type(error).__name__}: {error}"}
