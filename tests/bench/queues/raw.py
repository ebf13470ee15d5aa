"""What Redis itself can do: batches through one stream and one connection, nothing but XADD, XREADGROUP, XACK, XDEL.

    python -m tests.bench.queues.raw PORT

Latency needs a second process: a worker (the command above) that answers each entry with an RPUSH to the list that the
entry names, where the client waits with BLPOP. It is what a task takes that is a message and its answer, and no more.

The same with two commits is what a task takes at least whose result is in PostgreSQL: its row before the message is
sent, its result before the answer is. Nothing is claimed, fenced or shared out, and nobody else may run it.
"""

import asyncio
import itertools
import os
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import redis.asyncio as aioredis
import uvloop

from appliance.embedded.programs import free_port
from tests.bench.queues.client import NOTHING, arriving, check
from tests.bench.queues.rows import Rows
from tests.bench.queues.usage import Usage
from tests.bench.redis_peers import Processes

BATCH, STREAM, GROUP = 500, "raw", "agents"
COMMANDS_A_TASK = 3
"""XADD, XACK and XDEL; one XREADGROUP brings a whole batch."""
WARM_UP = 200
KEPT = "QUEUE_POSTGRES"
"""What the worker learns from its environment: how PostgreSQL is reached; empty: nothing is kept."""


async def raw_limit(count: int, rounds: int) -> dict[str, Any]:
    """Return entries and commands per second, the best of some rounds, and the CPU per 1,000 entries."""
    async with AsyncExitStack() as stack:
        processes = _processes(stack)
        pid, client = await _redis(stack, processes, free_port())
        usage = Usage({"client": 0, "redis": pid})
        times = [await _round(client, count) for _ in range(rounds)]
        cpu, _ = usage.until_now()
    per_s = count / min(times)
    return {
        "entries_per_s": round(per_s),
        "commands_per_s": round(per_s * COMMANDS_A_TASK),
        "cpu_s_per_1000": {name: round(used * 1000 / count / rounds, 4) for name, used in cpu.items()},
    }


async def raw_latencies_ms(per_s: float, count: int, within_s: float, kept: str = "") -> list[float]:
    """Let so many entries arrive evenly; return how long each took until its result was at the client.

    `kept` is how PostgreSQL is reached; with it a row is committed before the entry is sent, its result before the
    answer is.
    """
    async with AsyncExitStack() as stack, asyncio.timeout(within_s):
        processes, port = _processes(stack), free_port()
        _, client = await _redis(stack, processes, port)
        rows = await stack.enter_async_context(Rows.at(kept))
        await rows.make()
        worker = [sys.executable, "-m", "tests.bench.queues.raw", str(port)]
        await processes.start("worker", *worker, port=port, **{KEPT: kept})
        numbers = itertools.count()

        async def one() -> None:
            answer = f"answer:{next(numbers)}"
            await rows.accept(answer)
            await client.xadd(STREAM, {"to": answer})
            _, result = await client.blpop([answer])
            check([int(result)])

        for _ in range(WARM_UP):
            await one()
        return await arriving(one, per_s, count)


def _processes(stack: AsyncExitStack) -> Processes:
    processes = Processes()
    stack.push_async_callback(asyncio.to_thread, processes.close)
    return processes


async def _redis(stack: AsyncExitStack, processes: Processes, port: int) -> tuple[int, Any]:
    """Start a Redis with a stream and its group; return its pid and a client."""
    pid = await processes.redis("redis", port)
    client: Any = aioredis.Redis(port=port)
    stack.push_async_callback(client.aclose)
    await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    return pid, client


async def work(port: int) -> None:
    """Be the worker: end entries and answer them, all that came together in one round trip."""
    client: Any = aioredis.Redis(port=port, socket_timeout=None)  # it may wait for ever
    async with Rows.at(os.environ.get(KEPT, "")) as rows:
        while True:
            [(_, entries)] = await client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=BATCH, block=0)
            await rows.end([fields[b"to"].decode() for _, fields in entries])
            await _answer(client, entries)


async def _answer(client: Any, entries: list[Any]) -> None:
    async with client.pipeline(transaction=False) as pipe:
        for id_, fields in entries:
            pipe.xack(STREAM, GROUP, id_)
            pipe.xdel(STREAM, id_)
            pipe.rpush(fields[b"to"], NOTHING)
        await pipe.execute()


async def _round(client: Any, count: int) -> float:
    began = time.perf_counter()
    for at in range(0, count, BATCH):
        async with client.pipeline(transaction=False) as pipe:
            for _ in range(min(BATCH, count - at)):
                pipe.xadd(STREAM, {"t": "0123456789abcdef0123456789abcdef0123"})
            await pipe.execute()
        [(_, entries)] = await client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=BATCH)
        async with client.pipeline(transaction=False) as pipe:
            for id_, _ in entries:
                pipe.xack(STREAM, GROUP, id_)
                pipe.xdel(STREAM, id_)
            await pipe.execute()
    return time.perf_counter() - began


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1])))
