"""What a row plays on: a whole cluster, people, fenced writers, and verbs for what befalls agents."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from appliance.core.clock import monotonic
from appliance.core.errors import NexusError
from appliance.core.orders import Orders
from appliance.core.records import Agent
from appliance.core.settings import BEAT_S
from tests.client import Client
from tests.cluster import Cluster
from tests.faults.chat import Acknowledged, Chat, Crowd, ask
from tests.faults.facts import HISTORY
from tests.faults.fenced import FencedWriters
from tests.faults.rows import Running
from tests.faults.seats import Seats
from tests.waiting import wait_until

LOOK_S = 0.003
STORY = "story [[tokens=80 delay=25ms]]"
"""An answer of two seconds: still under way when a fault ends."""


class Stage:
    """A running cluster and everything that watches it, for all runs of all rows that share it."""

    def __init__(self, cluster: Cluster, person: Client, token: str) -> None:
        self.cluster = cluster
        self.person = person
        self.token = token
        self.writers = FencedWriters(cluster)
        self.seats = Seats(cluster)

    @classmethod
    @asynccontextmanager
    async def built(cls, running: Running) -> AsyncIterator["Stage"]:
        """Run a cluster with its writers and observers."""
        async with running() as cluster:
            _, token = await cluster.sign_in()
            stage = cls(cluster, Client(cluster.url, token), token)
            await stage.writers.begin()
            async with cluster.sql() as sql:
                await sql.execute(HISTORY.encode())
            stage.seats.begin()
            try:
                yield stage
            finally:
                await stage.seats.end()
                await stage.writers.end()
                await stage.person.aclose()


class Scene:
    """One run of one row."""

    def __init__(self, stage: Stage, number: int, seed: str) -> None:
        self.cluster = stage.cluster
        self.stage = stage
        self.person = stage.person
        self.number = number
        self.random = random.Random(seed)
        self.measured: dict[str, float] = {}
        self.acknowledged: list[Acknowledged] = []
        self.published: list[str] = []
        self.culprits: set[str] = set()
        self.chats: list[Chat] = []
        self.armed: set[str] = set()
        self.crowd = Crowd(stage.person, self.acknowledged.append)

    def measure(self, **values: float) -> None:
        """Keep what this run measured, in seconds; names are those of the row's bounds."""
        self.measured |= {name: round(value, 4) for name, value in values.items()}

    async def epoch(self) -> int:
        """Return the epoch in force."""
        row = await self.cluster.postgres.row("cluster_epoch")
        assert row is not None
        return int(row["epoch"])

    async def primary(self) -> Agent:
        """Return the agent that holds the lease and serves."""

        async def found() -> Agent | None:
            view = await self.cluster.view()
            agent = view.agent(view.primary_id) if view.primary_id else None
            return agent if agent and agent.is_primary and agent.status == "active" and agent.boot_alive else None

        agent: Agent = await wait_until(found, of="a primary that serves")
        return agent

    async def secondaries(self) -> list[Agent]:
        """Return the other agents that serve."""
        primary = await self.primary()
        return [it for it in (await self.cluster.view()).agents if it.boot_alive and it.id != primary.id]

    async def secondary(self) -> Agent:
        """Return one of the other agents, drawn by lot."""
        return self.random.choice(await self.secondaries())

    async def chat(self, owner: Agent, text: str = STORY, *, words: int = 5) -> Chat:
        """Open a tab whose answer `owner` writes; return when it shows `words` pieces of it.

        The message goes to that agent past the gateway, so that it owns the turn; the tab follows through the gateway.
        """
        direct = Client(f"http://{owner.host}:{owner.port}", self.stage.token)
        try:
            conversation = await direct.create()
            asked, cursor = await ask(direct, conversation, text, self.acknowledged.append)
        finally:
            await direct.aclose()
        chat = Chat(self.person, asked, cursor)
        self.chats.append(chat)

        async def shows() -> bool:
            return chat.words >= words

        await wait_until(shows, of=f"{words} words in the tab")
        return chat

    async def hush(self) -> None:
        """Let the crowd go home and all turns end, so that the next turn of an agent is the row's own."""
        await self.crowd.end()

        async def silent() -> bool:
            rows = await self.cluster.postgres.row("work_by_state")
            return rows is not None and not any(rows.values())

        await wait_until(silent, of="the end of all turns")

    async def any_moment(self) -> None:
        """Wait for a moment of the heartbeat drawn by lot."""
        await asyncio.sleep(self.random.uniform(0, BEAT_S))

    async def kill(self, *pids: int, how: signal.Signals = signal.SIGKILL) -> float:
        """Send a signal to processes at a moment drawn by lot; return that moment."""
        await self.any_moment()
        return send(how, *pids)

    async def freeze(self, agent: Agent) -> float:
        """SIGSTOP keeper and runner at a moment drawn by lot; return that moment."""
        return await self.kill(agent.keeper_pid, agent.runner_pid, how=signal.SIGSTOP)

    def thaw(self, agent: Agent) -> float:
        """SIGCONT keeper and runner; return that moment."""
        return send(signal.SIGCONT, agent.keeper_pid, agent.runner_pid)

    async def new_primary(self, lost: Agent, began: float, *, within_s: float = 15.0) -> float:
        """Return how many seconds after `began` the lease of a later epoch than that of `lost` was seen."""
        while monotonic() - began < within_s:
            with suppress(NexusError):
                lease = (await self.cluster.view()).lease
                if lease is not None and lease.epoch > lost.config_epoch:
                    return monotonic() - began
            await asyncio.sleep(LOOK_S)
        raise AssertionError(f"no new primary within {within_s} s")

    async def seated(self, agent: Agent, began: float, *, within_s: float = 15.0) -> float:
        """Return how many seconds after `began` this very agent held the lease."""

        async def holds() -> bool:
            return (await self.cluster.view()).primary_id == agent.id

        await wait_until(holds, within_s=within_s, of=f"{agent.id} as primary")
        return monotonic() - began

    async def arm(self, agent: Agent, failpoints: str, **environment: str) -> Agent:
        """Start a secondary again with failpoints, such as "before_commit:kill"; the harness disarms it afterwards."""
        self.armed.add(agent.id)
        await self.cluster.end(agent.id)
        self.cluster.start_agent(agent.id, NEXUS_FAILPOINTS=failpoints, **environment)

        async def back() -> Agent | None:
            now = await self.cluster.agent(agent.id)
            serves = now.boot != agent.boot and now.status == "active" and now.boot_alive and now.electable
            return now if serves and now.can_vote and now.config_epoch == await self.epoch() else None

        armed: Agent = await wait_until(back, of=f"{agent.id} with its failpoints")
        return armed

    async def enthrone(self, agent: Agent) -> Agent:
        """Have the primary hand its seat to this agent; return it as primary."""
        epoch = await self.epoch()
        await Orders(self.cluster.redis, self.cluster.postgres).switchover(agent.id, by="faults")

        async def serves() -> Agent | None:
            now = await self.primary()
            return now if now.id == agent.id and now.config_epoch > epoch else None

        seated: Agent = await wait_until(serves, of=f"{agent.id} as primary")
        return seated


def send(number: signal.Signals, *pids: int) -> float:
    """Send a signal to processes, those that have ended apart; return when."""
    began = monotonic()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return began


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return state(pid) not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def state(pid: int) -> str:
    """Return the letter that the kernel has for a process's state: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
