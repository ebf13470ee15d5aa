"""How long nobody may act after a kill or a freeze: Nexus beside Redis Sentinel and a plain TTL lock.

    python -m tests.bench.failover [--quick] --json FILE

Each run: SIGKILL (or SIGSTOP) whoever may act, at a random moment of its rhythm; look every 2 ms. `acts` = time until
everybody can see that another may act; `writes` = until a write of that other one is accepted: by PostgreSQL's fence
for Nexus, by the new master for Sentinel; a plain lock fences nothing, so its holder writes at once. Sentinel runs with
`down-after-milliseconds 1000`, the lock with 5 s. The three run one after the other; `cpu` is the share of all cores
that was busy meanwhile.
"""

import argparse
import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec

from appliance.core.clock import monotonic
from tests.bench.load import Cpu, percentile
from tests.bench.peers import Nexus, Peer, hurt
from tests.bench.redis_peers import Sentinel, TtlLock

PEERS: dict[str, Callable[[], AbstractAsyncContextManager[Peer]]] = {
    "nexus": Nexus.running, "sentinel": Sentinel.running, "ttl_lock": TtlLock.running,
}  # fmt: skip
FAULTS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
LOOK_S = 0.002
GIVEN_UP_S = 30.0
QUIET_S = 3.0
RHYTHM_S = 2.0
"""Longer than every beat and renewal in the field, so that faults hit each of them at any phase."""


class Run(msgspec.Struct, frozen=True):
    """Seconds since the signal."""

    acts_s: float
    writes_s: float


async def one_run(peer: Peer, fault: signal.Signals, pause_s: float) -> Run:
    """Hurt whoever may act once, wait for another, and mend."""
    await asyncio.sleep(pause_s)
    lost = await peer.holder()
    began = hurt(lost, fault)
    try:
        await until(lambda: peer.replaced(lost), began)
        acts = monotonic()
        await until(peer.writes, began)
        return Run(acts - began, monotonic() - began)
    finally:
        await peer.mend(lost, fault)


async def until(condition: Callable[[], Awaitable[bool]], began: float) -> None:
    """Look until `condition` holds; TimeoutError once too much time has passed since `began`."""
    while not await condition():
        if monotonic() - began > GIVEN_UP_S:
            raise TimeoutError(f"nothing within {GIVEN_UP_S:g} s")
        await asyncio.sleep(LOOK_S)


async def many(peer: Peer, fault: signal.Signals, runs: int) -> dict[str, Any]:
    """Repeat one fault; a run that fails is counted and said, not retried."""
    phases = random.Random(1)  # the same moments for every peer
    cpu = Cpu()
    good: list[Run] = []
    failures: list[str] = []
    for number in range(runs):
        try:
            good.append(await one_run(peer, fault, QUIET_S + phases.uniform(0, RHYTHM_S)))
        except Exception as error:
            failures.append(f"run {number}: {type(error).__name__}: {error}")
    figures = spread("acts", [run.acts_s for run in good]) | spread("writes", [run.writes_s for run in good])
    return {"runs": runs, "good": len(good), "cpu": round(cpu.busy(), 2), **figures, "failures": failures}


def spread(name: str, values: list[float]) -> dict[str, Any]:
    """Return p50, p99 (of few runs their maximum), maximum and the values themselves, in seconds."""
    if not values:
        return {f"{name}_p50_s": None, f"{name}_p99_s": None, f"{name}_max_s": None, f"{name}_s": []}
    found = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
    return {f"{name}_{key}_s": round(value, 3) for key, value in found.items()} | {
        f"{name}_s": [round(value, 3) for value in values]
    }


def compared(figures: dict[str, dict[str, Any]]) -> None:
    """Put beside each figure how many times Nexus's own it is."""
    for peer in figures.values():
        for fault, values in peer.items():
            for part in ("p50", "max"):
                theirs, ours = values[f"writes_{part}_s"], figures["nexus"][fault][f"writes_{part}_s"]
                values[f"ratio_{part}"] = round(theirs / ours, 1) if theirs and ours else None


async def run(runs: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Measure all peers, one after the other; return the figures by peer and fault."""
    figures: dict[str, dict[str, Any]] = {}
    for name, running in PEERS.items():
        async with running() as peer:
            figures[name] = {fault: await many(peer, FAULTS[fault], runs[fault]) for fault in FAULTS}
    compared(figures)
    return figures


COLUMNS = ("runs", "good", "cpu", "acts_p50_s", "acts_p99_s", "acts_max_s",
           "writes_p50_s", "writes_p99_s", "writes_max_s", "ratio_p50", "ratio_max")  # fmt: skip


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    """Print one row per fault and peer, and what went wrong under it."""
    print("fault   peer      " + "  ".join(COLUMNS))  # noqa: T201
    for fault in FAULTS:
        for name, peer in figures.items():
            cells = [f"{peer[fault][column]!s:>{len(column)}}" for column in COLUMNS]
            print(f"{fault:<8}{name:<10}" + "  ".join(cells))  # noqa: T201
            for failure in peer[fault]["failures"]:
                print(f"        {failure}")  # noqa: T201


def main() -> None:
    """Run, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three kills and two freezes instead of twenty and five")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(run({"kill": 3, "freeze": 2} if arguments.quick else {"kill": 20, "freeze": 5}))
    print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
