"""Every read the pages and the API need; page and JSON are faces of the same records."""

import msgspec

from appliance.core.election import Election
from appliance.core.errors import StoreAway
from appliance.core.health import is_suspected
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import BEAT_S, Settings


class AgentLine(msgspec.Struct, frozen=True):
    """One agent as people see it: its record and what it means."""

    agent: Agent
    state: str
    """A word: active, starting, draining, suspected, failed."""
    is_primary: bool


class Work(msgspec.Struct, frozen=True):
    """Turns by state, as the ledger counts them."""

    running: int = 0
    queued: int = 0
    waiting: int = 0


class Overview(msgspec.Struct, frozen=True):
    """The cluster at a glance. `away` names the stores that do not answer; their part is then empty."""

    agents: tuple[AgentLine, ...]
    primary_id: str | None
    epoch: int
    work: Work
    away: tuple[str, ...]

    @property
    def active(self) -> int:
        """Agents that take work now."""
        return sum(line.state == "active" for line in self.agents)


class Queries:
    """Reads of the stores."""

    def __init__(self, redis: Redis, postgres: Postgres, settings: Settings) -> None:
        self._registry = Registry(redis)
        self._election = Election(redis, postgres)
        self._postgres = postgres
        self._settings = settings

    async def overview(self) -> Overview:
        """Read the cluster; a store that is away is named, never an error."""
        away: list[str] = []
        view = ClusterView(agents=(), generation=None, epoch=0, primary_id=None, redis_time=0)
        work, epoch = Work(), 0
        try:
            view = await self._registry.view()
            epoch = view.epoch
        except StoreAway:
            away.append("Redis")
        try:
            row = await self._postgres.row("work_by_state")
            work = Work(**row) if row else work
            epoch = (await self._election.current()).number
        except StoreAway:
            away.append("PostgreSQL")
        lines = tuple(self._line(agent, view.primary_id) for agent in view.agents)
        return Overview(agents=lines, primary_id=view.primary_id, epoch=epoch, work=work, away=tuple(away))

    def _line(self, agent: Agent, primary_id: str | None) -> AgentLine:
        return AgentLine(
            agent=agent,
            state=state_of(agent, threshold=self._settings.cluster_failure_threshold),
            is_primary=agent.id == primary_id,
        )


def state_of(agent: Agent, *, threshold: int) -> str:
    """Return the word for an agent's state: its own status, unless its silence says otherwise."""
    if not agent.boot_alive:
        return "failed"
    if is_suspected(agent.beat_age_s, beat_s=BEAT_S, threshold=threshold):
        return "suspected"
    return str(agent.status)
