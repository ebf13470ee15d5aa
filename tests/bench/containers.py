"""How long nobody leads after the primary's container is killed, paused or cut off from the stores.

    python -m tests.bench.containers [--runs 30] [--only F3] [--home FOLDER] --json FILE

The appliance of the home must be up in containers, best with short answers (MODEL_MAX_TOKENS=256 make up). Times
count from the moment the `docker` command is typed, so its own way to the engine is in them; `chat_s` is the longest
time in which a tab with an open answer showed nothing new.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from appliance.core.registry import Registry
from appliance.embedded.places import DEFAULT_HOME
from tests.appliance.containers import HURTS, Hurt, Stack, answering_primary
from tests.bench.load import percentile

LOOK_S = 0.005
GIVEN_UP_S = 60.0


async def led_again(stack: Stack, lost: Agent, began: float) -> float:
    """Return the seconds until the registry shows another boot as primary."""
    async with stack.place.redis() as redis:
        registry = Registry(redis)
        while monotonic() - began < GIVEN_UP_S:
            lease = (await registry.view()).lease
            if lease and lease.boot != lost.boot:
                return monotonic() - began
            await asyncio.sleep(LOOK_S)
    raise AssertionError(f"nobody followed {lost.id} within {GIVEN_UP_S} s")


async def one_run(stack: Stack, hurt: Hurt) -> tuple[float, float]:
    """Hurt the primary in the middle of its answer, measure, mend."""
    async with answering_primary(stack) as watched:
        name, began = stack.name(watched.agent.id), monotonic()
        leads = asyncio.create_task(led_again(stack, watched.agent, began))
        hurting = asyncio.create_task(asyncio.to_thread(hurt.do, stack, name))
        try:
            gap_s = await longest_silence(watched.events, began)
            return await leads, gap_s
        finally:
            await hurting
            await asyncio.to_thread(hurt.mend, stack, name)


async def longest_silence(events: Any, began: float) -> float:
    """Follow an answer to its end; return the longest time without a word of it."""
    last, longest = began, 0.0
    async for event in events:
        if event["type"] in ("token", "attempt_restarted", "done"):
            longest, last = max(longest, monotonic() - last), monotonic()
    return longest


async def measure(stack: Stack, runs: int, only: str) -> dict[str, Any]:
    """Return the figures of every hurt whose name begins so."""
    found = {}
    for name, hurt in ((name, hurt) for name, hurt in HURTS.items() if name.startswith(only)):
        pairs = [await one_run(stack, hurt) for _ in range(runs)]
        found[name] = {
            what: {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
            for what, values in (("leads_s", [it[0] for it in pairs]), ("chat_s", [it[1] for it in pairs]))
        }
        print(name, json.dumps(found[name]), flush=True)  # noqa: T201
    return found


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--only", default="", help="hurts whose name begins so")
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME)
    parser.add_argument("--json", type=Path, required=True)
    said = parser.parse_args()
    figures = asyncio.run(measure(Stack(said.home), said.runs, said.only))
    said.json.write_text(json.dumps({"runs": said.runs, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
