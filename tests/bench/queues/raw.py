"""What Redis itself can do: batches through one stream and one connection, nothing but XADD, XREADGROUP, XACK, XDEL."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import redis.asyncio as aioredis

from appliance.embedded.programs import free_port
from tests.bench.queues.usage import Usage
from tests.bench.redis_peers import Processes

BATCH, STREAM, GROUP = 500, "raw", "agents"
COMMANDS_A_TASK = 3
"""XADD, XACK and XDEL; one XREADGROUP brings a whole batch."""


async def raw_limit(count: int, rounds: int) -> dict[str, Any]:
    """Return entries and commands per second, the best of some rounds, and the CPU per 1,000 entries."""
    async with AsyncExitStack() as stack:
        processes, port = Processes(), free_port()
        stack.push_async_callback(asyncio.to_thread, processes.close)
        pid = await processes.redis("redis", port)
        client: Any = aioredis.Redis(port=port)
        stack.push_async_callback(client.aclose)
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        usage = Usage({"client": 0, "redis": pid})
        times = [await _round(client, count) for _ in range(rounds)]
        cpu, _ = usage.until_now()
    per_s = count / min(times)
    return {
        "entries_per_s": round(per_s),
        "commands_per_s": round(per_s * COMMANDS_A_TASK),
        "cpu_s_per_1000": {name: round(used * 1000 / count / rounds, 4) for name, used in cpu.items()},
    }


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
