"""Random faults under thirty conversations, then peace: does everything hold, did every turn end, is nothing left over?

    python -m tests.faults.soak [--minutes 10] [--seed S] [--json FILE]

The seed draws which fault comes next, whom it hits and how long it lasts. Exit code 1 when anything was wrong.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.core.clock import monotonic
from appliance.core.errors import NexusError
from tests.client import Client
from tests.faults.people import Person
from tests.faults.play import recover, spread
from tests.faults.rows import three_agents
from tests.faults.rows_stores import postgres_dies, redis_dies, redis_forgets
from tests.faults.scene import Scene, Stage, send

Fault = Callable[[], Awaitable[str]]
PEOPLE = 30
REST_S = (2.0, 8.0)
"""Between two faults; the next one may well meet the recovery from the one before."""


TOGETHER = 0.25
"""How often an agent and a store are hit at once."""


class Faults:
    """What may happen next; agents that died start again a little later."""

    def __init__(self, scene: Scene, lot: random.Random) -> None:
        self._scene = scene
        self._lot = lot
        self._cluster = scene.cluster
        self.done: list[str] = []
        self.wrong: list[str] = []
        self._of_agents: list[Fault] = [self._kill, self._kill_runner, self._kill_keeper, self._freeze, self._drain]
        self._of_stores: list[Fault] = [
            self._pause_redis, self._kill_redis, self._flush_redis, self._restart_postgres
        ]  # fmt: skip

    async def run(self, until: float) -> None:
        """Let things happen until then."""
        while monotonic() < until:
            await asyncio.sleep(self._lot.uniform(*REST_S))
            self.done += await asyncio.gather(*(fault() for fault in self._next()))
            self._cluster.revive()

    def _next(self) -> list[Fault]:
        if self._lot.random() < TOGETHER:
            return [self._lot.choice(self._of_agents), self._lot.choice(self._of_stores)]
        return [self._lot.choice(self._of_agents + self._of_stores)]

    def _someone(self) -> tuple[str, int]:
        return self._lot.choice(sorted(self._cluster.keepers().items()))

    async def _hit(self, what: str, number: signal.Signals, pids: list[int], name: str, for_s: float) -> str:
        send(number, *pids)
        await asyncio.sleep(for_s)
        send(signal.SIGCONT, *pids)
        return f"{what} {name} {for_s:.1f} s"

    async def _kill(self) -> str:
        name, pid = self._someone()
        return await self._hit("kill", signal.SIGKILL, [pid, *children(pid)], name, self._lot.uniform(0, 5))

    async def _kill_runner(self) -> str:
        name, pid = self._someone()
        return await self._hit("kill runner", signal.SIGKILL, children(pid), name, 0.0)

    async def _kill_keeper(self) -> str:
        name, pid = self._someone()
        return await self._hit("kill keeper", signal.SIGKILL, [pid], name, self._lot.uniform(0, 5))

    async def _freeze(self) -> str:
        name, pid = self._someone()
        return await self._hit("freeze", signal.SIGSTOP, [pid, *children(pid)], name, self._lot.uniform(1, 10))

    async def _drain(self) -> str:
        name, _ = self._someone()
        code = await self._cluster.terminate(name)
        if code > 0:  # one that only begins has nothing to hand back, and the signal simply ends it
            self.wrong.append(f"{name} was asked to end and ended with exit code {code}")
        return f"drain {name}"

    async def _pause_redis(self) -> str:
        redis = self._cluster.stores.processes["redis"].pid
        return await self._hit("pause", signal.SIGSTOP, [redis], "Redis", self._lot.uniform(1, 5))

    async def _kill_redis(self) -> str:
        away_s = self._lot.uniform(0.3, 3)
        await redis_dies(self._scene, away_s)
        return f"kill Redis {away_s:.1f} s"

    async def _flush_redis(self) -> str:
        await redis_forgets(self._scene)
        return "FLUSHALL"

    async def _restart_postgres(self) -> str:
        away_s = self._lot.uniform(0.3, 5)
        await postgres_dies(self._scene, away_s)
        return f"crash PostgreSQL {away_s:.1f} s"


def children(pid: int) -> list[int]:
    """Return the process ids of a keeper's children: its runner."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class Soak:
    """One run on one cluster."""

    def __init__(self, stage: Stage, seed: str) -> None:
        self._scene = Scene(stage, 0, seed)
        self._faults = Faults(self._scene, random.Random(f"{seed}:faults"))
        self._client = Client(stage.cluster.url, stage.token)
        self._people = [Person(f"person {n}", self._client, f"{seed}:{n}") for n in range(PEOPLE)]
        self._told = 0

    async def run(self, minutes: float) -> dict[str, Any]:
        """Let things happen, make peace, check; return the figures."""
        began = monotonic()
        faults = asyncio.create_task(self._faults.run(began + minutes * 60))
        minute = 0
        while not faults.done():
            minute += 1
            await asyncio.wait([faults], timeout=began + minute * 60 - monotonic())
            say(await self._news(minute))
        await faults
        self._scene.cluster.revive()
        await asyncio.gather(*(person.end() for person in self._people))
        wrong = self._faults.wrong + [it for person in self._people for it in person.wrong] + await self._audit()
        await self._client.aclose()
        return {"epochs": await self._scene.epoch(), **self._figures(monotonic() - began, wrong)}

    async def _audit(self) -> list[str]:
        self._scene.acknowledged += [it for person in self._people for it in person.acknowledged]
        return await recover(self._scene, drained=False) + await self._left_over()

    async def _left_over(self) -> list[str]:
        """What peace should have brought to an end."""
        work = await self._scene.cluster.postgres.row("work_by_state") or {}
        epoch, copy = await self._scene.epoch(), (await self._scene.cluster.view()).epoch
        wrong = [f"{count} turns are {state}" for state, count in work.items() if count]
        return wrong + ([] if epoch == copy else [f"Redis says epoch {copy}, PostgreSQL {epoch}"])

    async def _news(self, minute: int) -> str:
        new, self._told = self._faults.done[self._told :], len(self._faults.done)
        epoch = "?"
        with suppress(NexusError):
            epoch = str(await self._scene.epoch())
        return f"minute {minute}: epoch {epoch}, {self._counted()}; {', '.join(new) or 'nothing happened'}"

    def _counted(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self._ends().items()))
        return f"turns {self._asked()}: {ends}; {self._refused().total()} messages sent again"

    def _asked(self) -> int:
        return sum(len(person.acknowledged) for person in self._people)

    def _refused(self) -> Counter[str]:
        return sum((person.refused for person in self._people), Counter())

    def _ends(self) -> Counter[str]:
        return sum((person.ends for person in self._people), Counter())

    def _figures(self, seconds: float, wrong: list[str]) -> dict[str, Any]:
        gaps = [gap for person in self._people for gap in person.gaps]
        return {
            "seconds": round(seconds), "cores": os.cpu_count(), "people": PEOPLE, "turns": self._asked(),
            "ends": dict(self._ends()), "sent_again": dict(self._refused()),
            "gap_s": {part: round(value, 2) for part, value in spread(gaps).items()}, "faults": self._faults.done,
            "wrong": wrong,
        }  # fmt: skip


async def soak(minutes: float, seed: str) -> dict[str, Any]:
    """Run on a cluster of its own; return the figures."""
    async with Stage.built(three_agents) as stage:
        return {"seed": seed, "minutes": minutes, **await Soak(stage, seed).run(minutes)}


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, flush=True)  # noqa: T201


def main() -> None:
    """Run, tell, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(soak(arguments.minutes, arguments.seed))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    say(f"{figures['turns']} turns: {figures['ends']}; {len(figures['faults'])} faults, {figures['epochs']} epochs")
    say(f"sent again: {figures['sent_again']}")
    say(f"longest silence in a tab, in seconds: {figures['gap_s']}")
    for wrong in figures["wrong"]:
        say(f"WRONG: {wrong}")
    say("all invariants hold, nothing is left over" if not figures["wrong"] else f"{len(figures['wrong'])} wrong")
    sys.exit(1 if figures["wrong"] else 0)


if __name__ == "__main__":
    main()
