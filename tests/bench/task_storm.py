"""10,000 pieces of work while runners and whole agents are SIGKILLed at random: is one lost, ended twice, or repeated?

    python -m tests.bench.task_storm [--quick] [--seed S] --json FILE

Most are tasks: each asks a service outside, over HTTP and in the middle of its time, to do something under the task's
own key; the service counts how often it was asked (executions) and remembers what it did (effects). Every claim and
every end of a row is kept by a trigger, in the transaction that makes it. One in twenty is a turn whose answer calls a
tool with side effects: what is cut off becomes a question to its person, and without an answer is never repeated
(`charges`). `--quick`: 1,000 in all. Exit code 1 when anything was wrong.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from appliance.core.clock import monotonic
from appliance.core.task_batches import Wanted
from tests.bench.charges import DOUBTS, Charges, wrong
from tests.boards import Boarded, board_of
from tests.cluster import Cluster, running_cluster
from tests.fakes.payments import Payments
from tests.faults.auditor import CHECKS
from tests.faults.facts import ENDED, HISTORY, Facts
from tests.faults.scene import send
from tests.faults.soak import children
from tests.faults.work import AGENTS, SLOTS, WORKING

TASKS, QUICK, PEOPLE, BATCH = 10_000, 1000, 5, 500
CHARGES = 1 / 20
"""Of all work: turns whose call may not be repeated unasked."""
LENGTH_S = 0.2
WITHIN_S = 1800.0
REST_S, AWAY_S = (0.5, 2.5), (0.0, 3.0)
"""Between two kills; until an agent that was killed whole is started again."""
RUNNERS_ALONE = 1 / 3
"""Of all kills. A runner's own death is held against what it ran, and the third such death ends a task."""
CHECKED = ("I6", "I7", "I8", "I9", "I10")


class Killer:
    """SIGKILLs somebody every now and then, until it is cancelled."""

    def __init__(self, cluster: Cluster, lot: random.Random) -> None:
        self._cluster = cluster
        self._lot = lot
        self.kills: Counter[str] = Counter()

    async def run(self) -> None:
        """Kill, one after the other."""
        while True:
            await asyncio.sleep(self._lot.uniform(*REST_S))
            name, keeper = self._lot.choice(sorted(self._cluster.keepers().items()))
            view = await self._cluster.view()
            self.kills["of a primary"] += view.primary_id == name
            if self._lot.random() < RUNNERS_ALONE:
                self.kills["runners"] += 1
                send(signal.SIGKILL, *children(keeper))
            else:
                self.kills["agents"] += 1
                send(signal.SIGKILL, keeper, *children(keeper))
                await asyncio.sleep(self._lot.uniform(*AWAY_S))
            self._cluster.revive()


async def publish(made: Boarded[Cluster], outside: Payments, count: int) -> tuple[str, ...]:
    """Put up tasks of several people, in turns."""
    wanted = Wanted("effect", {"seconds": LENGTH_S, "url": outside.url})
    ids: list[str] = []
    for number, at in enumerate(range(0, count, BATCH)):
        ids += await made.publish_all(f"person {number % PEOPLE}", [wanted] * min(BATCH, count - at))
    return tuple(ids)


async def storm(count: int, seed: str) -> dict[str, Any]:
    """Run it on a cluster of its own; return the figures."""
    async with Payments() as outside, Payments() as till:
        more = WORKING | {"TOOL_MODULES": "tests.fakes.tools", "OUTSIDE_URL": till.url}
        async with (
            running_cluster(AGENTS, **more) as cluster,
            cluster.sql() as sql,
            board_of(cluster, SLOTS, AGENTS) as made,
        ):
            await sql.execute((HISTORY + DOUBTS).encode())
            facts = Facts(sql=sql, redis=cluster.redis, effects=outside.effects)
            charges = Charges(cluster, facts, till, random.Random(f"{seed} answers"))
            killer, began = Killer(cluster, random.Random(seed)), monotonic()
            killing = asyncio.create_task(killer.run())
            turns = round(count * CHARGES)
            facts.published = await publish(made, outside, count - turns)
            async with asyncio.timeout(WITHIN_S):
                ends, _ = await asyncio.gather(made.results(facts.published, within_s=WITHIN_S), charges.run(turns))
            seconds = monotonic() - began
            await peace(cluster, killing)
            return {
                "work": count, "seed": seed, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
                "seconds": round(seconds, 1), "kills": dict(killer.kills), "tasks": len(ends),
                "ends": dict(Counter(it.state.value for it in ends)), **await ledger(facts),
                **felt(outside, facts.published), **await judged(facts, charges),
            }  # fmt: skip


async def peace(cluster: Cluster, killing: asyncio.Task[None]) -> None:
    """End the killing and let everybody come back."""
    killing.cancel()
    await asyncio.wait([killing])
    cluster.revive()
    await cluster.until_active(AGENTS)


async def judged(facts: Facts, charges: Charges) -> dict[str, Any]:
    """Return what came of calls with side effects, and all that was wrong."""
    figures = await charges.figures()
    found = [f"{name}: {it}" for name in CHECKED for it in await CHECKS[name](facts)]
    return {"side_effects": figures, "wrong": found + wrong(figures)}


async def ledger(facts: Facts) -> dict[str, int]:
    """Return what the rows say."""
    rows = await facts.tasks()
    [counted] = await facts.rows(
        "select (select count(*) from task_history where state = 'running') as claims,"
        " (select coalesce(sum(n - 1), 0)::int from (select count(*) as n from task_history"
        "   where state = any(%(ended)s) group by id) e) as duplicate_results,"
        " (select count(*) from refusals where what = 'commit_tasks') as commits_refused,"
        " (select count(*) - 1 from failovers) as elections", ended=list(ENDED),
    )  # fmt: skip
    return {"lost": len(facts.published) - sum(row["state"] in ENDED for row in rows.values()), **counted}


def felt(outside: Payments, ids: tuple[str, ...]) -> dict[str, int]:
    """Return what the service outside saw."""
    return {
        "executions": outside.asked.total(), "executed_again": sum(count > 1 for count in outside.asked.values()),
        "effects": len(outside.effects), "duplicate_effects": len(outside.effects.keys() - set(ids)),
    }  # fmt: skip


def table(figures: dict[str, Any]) -> str:
    """Return the figures as lines, those of a group indented under its name."""
    lines = list[str]()
    for name, value in figures.items():
        inside = value.items() if isinstance(value, dict) else ()
        lines.append(f"{name.replace('_', ' '):<28}{'' if inside else value}".rstrip())
        lines += [f"  {key.replace('_', ' '):<26}{it}" for key, it in inside]
    return "\n".join(lines)


def main() -> None:
    """Run, tell, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} in all")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(storm(QUICK if arguments.quick else TASKS, arguments.seed))
    print(table(figures))  # noqa: T201
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(1 if figures["wrong"] or figures["lost"] or figures["duplicate_results"] else 0)


if __name__ == "__main__":
    main()
