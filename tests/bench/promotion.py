"""1,000 conversations that rest are read for memories while runners and whole agents are SIGKILLed at random.

    python -m tests.bench.promotion [--quick] [--seed S] --json FILE

In each of them three turns say two things worth keeping and one that is not. Exit code 1 when a message was read twice
or not at all, when a memory is missing or there twice, or when the auditor finds something else. `--quick`: 100.
"""

import argparse
import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from appliance.core.clock import monotonic
from appliance.core.task_acts import TaskActs
from tests.bench.task_storm import Killer, peace
from tests.cluster import running_cluster
from tests.fakes.embedder import FakeEmbedder
from tests.faults.auditor import CHECKS
from tests.faults.facts import ENDED, HISTORY, Facts
from tests.resting import rest
from tests.waiting import PATIENCE_S, wait_until

SESSIONS, QUICK, PEOPLE, AGENTS = 1000, 100, 7, 3
WITHIN_S = 1800.0
CHECKED = ("I6", "I7", "I9", "I18")
_LEFT = "select count(*) as left_over from conversations where idle_since is not null"
_FIGURES = """
select (select count(*) from conversations where promoted_turn = 3) as promoted,
       (select count(*) from promotions) as ranges,
       (select count(*) from memories where valid_to is null) as memories,
       (select count(*) from memories) as rows,
       (select count(distinct (conversation_id, turn_no)) from memory_sources) as messages,
       (select count(*) from memory_sources) as sources,
       (select count(*) from task_history h join tasks t on t.id = h.id and t.kind = 'promote'
         where h.state = 'running') as claims,
       (select count(*) from tasks where kind = 'promote') as tasks,
       (select count(*) from tasks where kind = 'promote' and state = 'dead') as dead,
       (select count(*) - 1 from failovers) as elections"""


def told(number: int) -> tuple[str, str, str]:
    """What is said in one conversation: of no other one is it the same, or the opposite."""
    return (f"We use library{number} for service{number}.", "What is the time?",
            f"I study subject{number} with teacher{number}.")  # fmt: skip


async def storm(count: int, seed: str) -> dict[str, Any]:
    """Run it on a cluster of its own; return the figures."""
    async with FakeEmbedder() as embedder:
        more = embedder.environment() | {"CLUSTER_MEMORY_PROMOTION_DELAY": "1"}
        async with running_cluster(AGENTS, **more) as cluster, cluster.sql() as sql:
            await sql.execute(HISTORY.encode())
            facts = Facts(sql=sql, redis=cluster.redis)
            killer, began = Killer(cluster, random.Random(seed)), monotonic()
            killing = asyncio.create_task(killer.run())
            try:
                for number in range(count):
                    await rest(sql, f"person {number % PEOPLE}", *told(number))

                await wait_until(lambda: all_ended(facts, count), within_s=WITHIN_S, of="the last range")
                seconds = monotonic() - began
            finally:
                await peace(cluster, killing)
            requeued = await requeue(facts, TaskActs(cluster.postgres))
            await wait_until(lambda: all_read(facts), within_s=PATIENCE_S, of="the last conversation")
            return {
                "conversations": count, "seed": seed, "cores": os.cpu_count(), "seconds": round(seconds, 1),
                "kills": dict(killer.kills), "requeued": requeued, **await judged(facts, count),
            }  # fmt: skip


async def judged(facts: Facts, count: int) -> dict[str, Any]:
    """Return what the rows say of so many conversations, and all that is wrong with it."""
    found = [f"{name}: {it}" for name in CHECKED for it in await CHECKS[name](facts)]
    [figures] = await facts.rows(_FIGURES)
    return {**figures, "wrong": found + wrong(figures, count)}


async def all_ended(facts: Facts, count: int) -> bool:
    """Whether a task was published for each conversation, and has ended."""
    ended = await facts.rows("select 1 from tasks where kind = 'promote' and state = any(%(it)s)", it=list(ENDED))
    return len(ended) == count


async def all_read(facts: Facts) -> bool:
    """Whether no conversation waits to be read."""
    return not (await facts.rows(_LEFT))[0]["left_over"]


async def requeue(facts: Facts, acts: TaskActs) -> int:
    """Requeue what the killing made dead letters: three runners died with the same task, so an operator is asked."""
    outcome = await acts.all_dead("requeue", "promote", by="storm", key=uuid4())
    await facts.sql.execute(b"delete from task_history where state = 'dead'")  # their second life begins anew
    return outcome.done


def wrong(figures: dict[str, int], count: int) -> list[str]:
    """Return what is not as it has to be when each message was read exactly once."""
    expected = {"promoted": count, "ranges": count, "memories": 2 * count, "rows": 2 * count, "messages": 2 * count,
                "sources": 2 * count, "tasks": count}  # fmt: skip
    return [f"{name}: {figures[name]}, not {number}" for name, number in expected.items() if figures[name] != number]


def main() -> None:
    """Run, tell, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} conversations")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(storm(QUICK if arguments.quick else SESSIONS, arguments.seed))
    text = json.dumps(figures, indent=1)
    print(text)  # noqa: T201
    if arguments.json:
        arguments.json.write_text(text + "\n")
    sys.exit(1 if figures["wrong"] else 0)


if __name__ == "__main__":
    main()
