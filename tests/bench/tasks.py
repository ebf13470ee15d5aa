"""Distributed tasks: Nexus beside seven queues on Redis. No-op tasks, each result awaited, one worker process each.

    python -m tests.bench.tasks [--quick] [--only nexus,saq] --json FILE

Throughput is from the first publication until all results are at the client; latency is from the moment a task was due
in an open load until its result is at the client. Every queue runs alone, one after the other, with a Redis of its own;
those of the peers persist nothing, their usual setting, while Nexus commits each task to PostgreSQL with fsync.

A commit waits for the disk, and a disk may stall. Four figures tell whose time a latency of Nexus is: `latency_ms` of
raw, an entry of a Redis stream that a second process answers with nothing in between; `raw_durable_ms`, the same with
two commits to Nexus's own PostgreSQL, right after Nexus was measured; `disk_ms`, what a flush of 8 KB takes then, as
often, at the same pace, in the folder of the stores; and `latency_ms_in_memory` of a second Nexus, measured alike,
fsync on, its stores in /dev/shm (left out where that has less than 1 GB free).

Each peer has the settings its documentation offers for speed; its module in `queues/` says which and why. In short:
arq `max_jobs=100, poll_delay=0.01`; taskiq Redis streams, `--max-async-tasks 1000 --max-prefetch 1000`; celery
`--pool solo`, prefetch 1000, groups; saq `concurrency=50`, `map`, polling at 20 ms; streaq `concurrency=1000`,
`enqueue_many`; huey 2 threads, `notify_result`; dramatiq 4 threads, prefetch 1000; Nexus 1000 slots, batches of 500.

`--quick`: 1,000 tasks instead of 10,000, four seconds instead of twenty, a backlog of 10,000 instead of 100,000. The
peers' libraries are in no lock of ours: they are installed into `build/bench-peers/`.
"""

import argparse
import asyncio
import json
import signal
import statistics
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import uvloop

from tests.bench.load import Cpu, percentile
from tests.bench.queues.disk import flushes_ms, in_memory
from tests.bench.queues.nexus import Nexus
from tests.bench.queues.peer import Peer
from tests.bench.queues.raw import raw_latencies_ms, raw_limit
from tests.bench.queues.table import print_table, summed_up
from tests.bench.queues.usage import Usage

PEERS = ("arq", "taskiq", "celery", "saq", "streaq", "huey", "dramatiq")
EVERYTHING = ("nexus", *PEERS, "raw")
ROUNDS, WARM_UP, PER_S = 3, 200, 50.0
PATIENCE_S = 120.0


class Size(msgspec.Struct, frozen=True):
    """How much is asked."""

    tasks: int = 10_000
    seconds: float = 20.0
    backlog: int = 100_000

    def arrivals(self) -> int:
        """Return how many arrive in an open load."""
        return int(PER_S * self.seconds)


QUICK = Size(1000, 4.0, 10_000)


class Queue(Protocol):
    """What is measured; `parts` names its processes, 0 is this one."""

    parts: dict[str, int]

    async def seconds_of_burst(self, count: int, within_s: float) -> float:
        """Publish so many and wait for all results."""

    async def latencies_ms(self, per_s: float, count: int, within_s: float) -> list[float]:
        """Let so many arrive evenly."""


async def measured(queue: Queue, size: Size) -> dict[str, Any]:
    """Return throughput, CPU and latency of one queue."""
    await queue.seconds_of_burst(WARM_UP, PATIENCE_S)  # connections are open and code is loaded after it
    usage, busy = Usage(queue.parts), Cpu()
    times = [await queue.seconds_of_burst(size.tasks, PATIENCE_S) for _ in range(ROUNDS)]
    cpu, passed = usage.until_now()
    machine = busy.busy()
    latencies = await queue.latencies_ms(PER_S, size.arrivals(), size.seconds + PATIENCE_S)
    return {
        "per_s": {"best": round(size.tasks / min(times)), "median": round(size.tasks / statistics.median(times))},
        "rounds_per_s": [round(size.tasks / it) for it in times],
        "latency_ms": shares(latencies, 1),
        "cpu_s_per_1000": {name: round(used * 1000 / size.tasks / ROUNDS, 3) for name, used in cpu.items()},
        "cores": {name: round(used / passed, 2) for name, used in cpu.items()},
        "machine": round(machine, 2),
    }


def shares(values_ms: list[float], digits: int) -> dict[str, float]:
    """Return the middle and what one in a hundred exceeds."""
    return {"p50": round(percentile(values_ms, 0.5), digits), "p99": round(percentile(values_ms, 0.99), digits)}


async def with_backlog(nexus: Nexus, size: Size) -> dict[str, Any]:
    """Return what a task costs while many of somebody else's wait; his are done meanwhile and counted, too."""
    waited = await nexus.put_up_backlog(size.backlog)
    before = await nexus.done()
    took = await nexus.seconds_of_burst(size.tasks, 10 * PATIENCE_S)
    done, left = await nexus.done() - before, await nexus.waiting()
    return {"waited": waited, "left": left, "done": done, "seconds": round(took, 2), "per_s": round(done / took)}


async def of_nexus(size: Size) -> dict[str, Any]:
    """Measure Nexus: without and with a backlog, its disk, and its latency without the disk."""
    async with Nexus.running() as nexus:
        figures = {"durability": await nexus.durability(), **await measured(nexus, size)}
        durable = await raw_latencies_ms(PER_S, size.arrivals(), size.seconds + PATIENCE_S, nexus.postgres())
        figures["raw_durable_ms"] = shares(durable, 1)
        figures["disk_ms"] = await disk_ms(nexus, size)
        backlog = await with_backlog(nexus, size)
        backlog["cost"] = round(figures["per_s"]["median"] / backlog["per_s"], 2)
    return figures | {"backlog": backlog, "latency_ms_in_memory": await latency_ms_in_memory(size)}


async def disk_ms(nexus: Nexus, size: Size) -> dict[str, float]:
    """Return what a flush takes where the stores are."""
    flushes = await flushes_ms(nexus.folder, PER_S, size.arrivals())
    return {**shares(flushes, 2), "max": round(max(flushes), 2)}


async def latency_ms_in_memory(size: Size) -> dict[str, float] | None:
    """Return the latency of a second Nexus that went through the same; None where there is no memory for its stores."""
    if (memory := in_memory()) is None:
        return None
    async with Nexus.running(memory) as nexus:
        latency: dict[str, float] = (await measured(nexus, size))["latency_ms"]
        return latency


async def of_raw(size: Size) -> dict[str, Any]:
    """Measure Redis itself."""
    figures = await raw_limit(size.tasks, ROUNDS)
    latencies = await raw_latencies_ms(PER_S, size.arrivals(), size.seconds + PATIENCE_S)
    return figures | {"latency_ms": shares(latencies, 2)}


async def of_peer(name: str, size: Size) -> dict[str, Any]:
    """Measure a peer."""
    running: AbstractAsyncContextManager[Queue] = Peer.running(name)
    async with running as peer:
        return await measured(peer, size)


async def figures_of(name: str, size: Size) -> dict[str, Any]:
    """Measure one; what fails is said in its place, never left out."""
    try:
        if name == "raw":
            return await of_raw(size)
        return await (of_nexus(size) if name == "nexus" else of_peer(name, size))
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


async def run(names: list[str], size: Size) -> dict[str, Any]:
    """Measure all, one after the other."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    figures = {name: await figures_of(name, size) for name in names}
    return {"size": msgspec.to_builtins(size), "queues": figures, **summed_up(figures)}


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--only", default=",".join(EVERYTHING), help=f"some of {','.join(EVERYTHING)}")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = [name for name in arguments.only.split(",") if name]
    if unknown := set(names) - set(EVERYTHING):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    figures = uvloop.run(run(names, QUICK if arguments.quick else Size()))
    print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
