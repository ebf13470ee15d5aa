"""Clocks of single hosts that jump by an hour: faketime under the programs of a host, and a file that says how far off.

CLOCK_MONOTONIC and CLOCK_BOOTTIME stay what they are, as when somebody sets the clock of a real host.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2

from appliance.core.records import Agent
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider
from tests.faults.rows import row
from tests.faults.scene import Scene
from tests.faults.steady import same_primary, story
from tests.stores import Stores

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
LACKING = "" if LIBRARY else "needs faketime: apt-get install faketime"
STEP_S = 3600
TILTED = "Redis' clock stepped"
WATCHED_S = 4.5
"""After a step: longer than tilt and the burial of a silent boot."""


class Clock:
    """The clock of one host."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)

    def step(self, seconds: int) -> None:
        """Set the clock this far off."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a program of this host is started with."""
        return {
            "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip


class ClockedStores(Stores):
    """Stores whose Redis runs on a host with a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(self.home.run / "clock")

    async def start_one(self, name: str) -> None:
        """Start one store, Redis by its host's clock."""
        if name == "redis":
            program = self.programs[name]
            self.programs[name] = replace(program, env={**program.env, **self.clock.environment})
        await super().start_one(name)


class Clocked(Cluster):
    """Agents on hosts with clocks of their own."""

    def __init__(self, stores: ClockedStores, provider: FakeProvider) -> None:
        super().__init__(stores, provider)
        self.redis_clock = stores.clock
        self.clocks = {f"agent-{n}": Clock(stores.home.run / f"clock-{n}") for n in (1, 2, 3)}

    def start_agent(self, agent_id: str, **environment: str) -> None:
        """Start one agent by its host's clock."""
        super().start_agent(agent_id, **self.clocks[agent_id].environment | environment)


@asynccontextmanager
async def clocked() -> AsyncIterator[Clocked]:
    """Run three agents with stores and a provider of their own."""
    async with AsyncExitStack() as stack:
        stores = ClockedStores()
        stack.callback(stores.close)
        await stores.start()
        cluster = Clocked(stores, await stack.enter_async_context(FakeProvider()))
        stack.push_async_callback(cluster.close)
        await cluster.start(3)
        yield cluster


@row("F28", "the clock of the primary's host, then that of Redis' host, steps by an hour and back (forward, backward)",
     "no failover; tilt by Redis' TIME, the primary shows its lease again",
     elections=0, lacking=LACKING, cluster=clocked)  # fmt: skip
async def f28(scene: Scene) -> None:
    cluster = scene.cluster
    assert isinstance(cluster, Clocked)
    step_s = -STEP_S if scene.number % 2 else STEP_S
    async with same_primary(scene) as primary:
        async with stepped(scene, primary, cluster.clocks[primary.id], step_s):
            assert abs(await off_s(primary) - step_s) < 60, "the agent's clock did not step"
        tilts = cluster.log_of(primary.id).count(TILTED)
        async with stepped(scene, primary, cluster.redis_clock, step_s):
            pass
        assert cluster.log_of(primary.id).count(TILTED) > tilts, "nobody noticed that Redis' clock stepped"


@asynccontextmanager
async def stepped(scene: Scene, primary: Agent, clock: Clock, step_s: int) -> AsyncIterator[None]:
    """Step a clock while the primary answers; look for long enough, set it right, look again."""
    chat = await scene.chat(primary, story(2 * WATCHED_S))
    try:
        await scene.any_moment()
        clock.step(step_s)
        await asyncio.sleep(WATCHED_S)
        yield
    finally:
        clock.step(0)
    await asyncio.sleep(WATCHED_S)
    await chat.ended()
    assert chat.events[-1]["attempt"] == 1, "a healthy agent's turn was run again"


async def off_s(agent: Agent) -> float:
    """Return how far off an agent's clock is, by the date of its answers."""
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"http://{agent.host}:{agent.port}/healthz")
    return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
