"""The cluster at a glance: what Redis says of the agents, what PostgreSQL says of the work."""

import asyncio

import msgspec

from appliance.core.election import Election
from appliance.core.errors import StoreAway
from appliance.core.health import is_suspected
from appliance.core.history import Failover, History
from appliance.core.orders import AutomaticFailover, Pause
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Status
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import BEAT_S, Settings
from control_plane.queries.patience import InTime

LEDGER_S = 1.0
"""So long an answer of PostgreSQL is waited for: a page about the agents must not hang on it."""
UNKNOWN = "unknown"
PAGE = 20
"""Failovers that one page of the history shows."""


class AgentLine(msgspec.Struct, frozen=True):
    """One agent as people see it: its record and what it means."""

    agent: Agent
    state: str
    """A word: active, starting, draining, left, suspected, failed; unknown while Redis is away."""
    is_primary: bool


class Work(msgspec.Struct, frozen=True):
    """Turns by state, as the ledger counts them."""

    running: int = 0
    queued: int = 0
    waiting: int = 0


class Overview(msgspec.Struct, frozen=True):
    """The cluster at a glance. `away` names the stores that do not answer.

    Without Redis the agents are those last seen, each `unknown`; without PostgreSQL `work` is null.
    """

    agents: tuple[AgentLine, ...]
    primary_id: str | None
    epoch: int
    work: Work | None
    away: tuple[str, ...]
    paused: Pause | None = None
    """Who paused automatic failover; null also while PostgreSQL is away."""

    @property
    def active(self) -> int:
        """Agents that take work now."""
        return sum(line.state == "active" for line in self.agents)

    @property
    def headline(self) -> str:
        """How it is, in one sentence."""
        if "Redis" in self.away:
            return "How the agents are is not known at the moment."
        if not self.agents:
            return "No agent is registered."
        others = [f"{line.agent.id} {_is(line.state)}" for line in self.agents if line.state != "active"]
        how_many = f"{self.active} of {len(self.agents)} agents active" if others else "Every agent is active"
        leads = f"{self.primary_id} is primary" if self.primary_id else "there is no primary"
        return "; ".join([how_many, *others, leads]) + "."


class Seen(msgspec.Struct, frozen=True):
    """What Redis says of the agents, or said last."""

    agents: tuple[AgentLine, ...] = ()
    primary_id: str | None = None
    epoch: int = 0


class Ledger(msgspec.Struct, frozen=True):
    """What PostgreSQL says."""

    work: Work
    epoch: int
    paused: Pause | None


class Queries:
    """Reads of the stores."""

    def __init__(self, redis: Redis, postgres: Postgres, settings: Settings) -> None:
        self._registry = Registry(redis)
        self._election = Election(redis, postgres)
        self._postgres = postgres
        self._history = History(postgres)
        self._automatic = AutomaticFailover(postgres)
        self._settings = settings
        self._last_seen = Seen()
        self._ledger = InTime(self._read_ledger, LEDGER_S)

    async def overview(self) -> Overview:
        """Read the cluster; a store that is away is named, never an error."""
        seen, ledger = await asyncio.gather(self._seen(), self._ledger.get())
        away = [store for store, said in (("Redis", seen), ("PostgreSQL", ledger)) if said is None]
        shown = seen or self._last_seen
        return Overview(
            agents=shown.agents if seen else tuple(_unknown(line) for line in shown.agents),
            primary_id=seen.primary_id if seen else None,
            epoch=ledger.epoch if ledger else shown.epoch,
            work=ledger.work if ledger else None,
            away=tuple(away),
            paused=ledger.paused if ledger else None,
        )

    async def failovers(self, before: int | None = None) -> list[Failover]:
        """Read the newest failovers, or the newest of those before an epoch.

        Raises:
            StoreAway: PostgreSQL does not answer.
        """
        return await self._history.failovers(PAGE, before=before)

    async def paused(self) -> Pause | None:
        """Return who paused automatic failover; None also while PostgreSQL is away: a page is shown without it."""
        try:
            return await self._automatic.paused()
        except StoreAway:
            return None

    async def _seen(self) -> Seen | None:
        try:
            view = await self._registry.view()
        except StoreAway:
            return None
        lines = tuple(self._line(agent, view.primary_id) for agent in view.agents)
        self._last_seen = Seen(lines, view.primary_id, view.epoch)
        return self._last_seen

    async def _read_ledger(self) -> Ledger | None:
        try:
            row = await self._postgres.row("work_by_state")
            epoch, paused = (await self._election.current()).number, await self._automatic.paused()
            return Ledger(Work(**row) if row else Work(), epoch, paused)
        except StoreAway:
            return None

    def _line(self, agent: Agent, primary_id: str | None) -> AgentLine:
        return AgentLine(
            agent=agent,
            state=state_of(agent, threshold=self._settings.cluster_failure_threshold),
            is_primary=agent.id == primary_id,
        )


def _is(state: str) -> str:
    return f"has {state}" if state in ("failed", "left") else f"is {state}"


def _unknown(line: AgentLine) -> AgentLine:
    return msgspec.structs.replace(line, state=UNKNOWN, is_primary=False)


def state_of(agent: Agent, *, threshold: int) -> str:
    """Return the word for an agent's state: its own status, unless its silence says otherwise."""
    if not agent.boot_alive:
        return "left" if agent.status is Status.DRAINING else "failed"
    if is_suspected(agent.beat_age_s, beat_s=BEAT_S, threshold=threshold):
        return "suspected"
    return str(agent.status)
