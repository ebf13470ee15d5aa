"""The agents as people steer them: what each is, what happens to it next, what it uses."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable

import msgspec

from appliance.core.desired_fleet import Desired
from appliance.core.errors import NexusError, NotFound
from appliance.core.orders import Pause
from appliance.web.rendering import SAMPLES
from control_plane.fleet import Fleet, Member, Stats
from control_plane.progress import AgentProgress, FleetState
from control_plane.queries.cluster import AgentLine, Overview, Queries
from control_plane.queries.patience import InTime

SAMPLE_S = 1.0
FLEET_S = 1.0
"""So long the process manager or the Docker daemon is waited for."""


class Trend(msgspec.Struct, frozen=True):
    """What an agent used lately; the newest last."""

    cpu: tuple[float, ...] = ()
    """Cores."""
    memory: tuple[float, ...] = ()
    """Bytes."""


class AgentRow(msgspec.Struct, frozen=True):
    """One agent: what it says of itself, what its program does, what happens next."""

    id: str
    line: AgentLine | None = None
    """None: it never beat, or its record has expired."""
    member: Member | None = None
    """None: no program of the fleet, or the fleet does not answer."""
    progress: AgentProgress | None = None
    trend: Trend = Trend()
    drains_from: int = 0
    """Turns it ran when its drain was first seen here; 0 while it does not drain."""

    @property
    def state(self) -> str:
        """One word: that of the agent, or of its program when the agent says nothing."""
        if self.line:
            return self.line.state
        return str(self.member.state) if self.member else "unknown"

    @property
    def is_primary(self) -> bool:
        """Whether it holds the seat."""
        return self.line is not None and self.line.is_primary

    @property
    def left(self) -> int:
        """Turns it runs now."""
        return self.line.agent.current_load if self.line else 0


class AgentsView(msgspec.Struct, frozen=True):
    """All agents."""

    rows: tuple[AgentRow, ...]
    desired: Desired | None
    settled: bool
    away: tuple[str, ...]
    trouble: str
    """Why the fleet cannot be seen; '' when it can."""
    paused: Pause | None

    @property
    def headline(self) -> str:
        """How many there should be and how many are."""
        if self.desired is None:
            return f"{len(self.rows)} agents are registered; how many there should be is not known."
        wished = f"{self.desired.number} wished for by {self.desired.changed_by}"
        return f"{wished}: all is as it should be." if self.settled else f"{wished}: on the way there."


class AgentReads:
    """Reads agents, and keeps what they used while somebody watches."""

    def __init__(self, queries: Queries, state: Callable[[], Awaitable[FleetState]], fleet: Fleet) -> None:
        self._queries = queries
        self._fleet = fleet
        self._state = InTime(state, FLEET_S)
        self._used = InTime(self._sample, FLEET_S)
        self._trends: dict[str, deque[Stats]] = defaultdict(lambda: deque(maxlen=SAMPLES))
        self._sampled_at = 0.0
        self._drains_from: dict[str, int] = {}

    async def view(self) -> AgentsView:
        """Read all agents; what does not answer is named, never an error."""
        overview, (state, trouble), _ = await asyncio.gather(
            self._queries.overview(), self._fleet_state(), self._trend_goes_on()
        )
        self._note_drains(overview)
        return AgentsView(
            rows=self._rows(overview, state),
            desired=state.desired if state else None,
            settled=state.settled if state else False,
            away=overview.away,
            trouble=trouble,
            paused=overview.paused,
        )

    async def one(self, agent_id: str) -> tuple[AgentRow, AgentsView]:
        """Return one agent, and all.

        Raises:
            NotFound: nobody is called so.
        """
        view = await self.view()
        found = next((row for row in view.rows if row.id == agent_id), None)
        if found is None:
            known = ", ".join(row.id for row in view.rows) or "nobody"
            raise NotFound(f"There is no agent {agent_id[:64]!r}; there are: {known}.")
        return found, view

    async def _fleet_state(self) -> tuple[FleetState | None, str]:
        try:
            state = await self._state.get()
        except NexusError as error:
            return None, error.detail
        return state, "" if state else "What starts and stops agents does not answer in time."

    async def _trend_goes_on(self) -> None:
        """Take a sample, unless the newest is young; a fleet that is away leaves a gap."""
        if asyncio.get_running_loop().time() - self._sampled_at < SAMPLE_S:
            return
        try:
            await self._used.get()
        except NexusError:
            return

    async def _sample(self) -> None:
        self._sampled_at = asyncio.get_running_loop().time()
        found = await self._fleet.stats()
        for used in found:
            self._trends[used.agent_id].append(used)
        for gone in self._trends.keys() - {used.agent_id for used in found}:
            del self._trends[gone]

    def _note_drains(self, overview: Overview) -> None:
        draining = {line.agent.id: line.agent.current_load for line in overview.agents if line.state == "draining"}
        self._drains_from = {agent: max(left, self._drains_from.get(agent, 0)) for agent, left in draining.items()}

    def _rows(self, overview: Overview, state: FleetState | None) -> tuple[AgentRow, ...]:
        lines = {line.agent.id: line for line in overview.agents}
        members = {member.agent_id: member for member in state.members} if state else {}
        progress = {it.agent_id: it for it in state.agents} if state else {}
        ids = sorted(lines.keys() | members.keys() | progress.keys(), key=_by_number)
        return tuple(
            AgentRow(
                agent, lines.get(agent), members.get(agent), progress.get(agent), self._trend(agent),
                self._drains_from.get(agent, 0),
            )
            for agent in ids
        )  # fmt: skip

    def _trend(self, agent: str) -> Trend:
        kept = self._trends.get(agent, ())
        return Trend(tuple(it.cpu_cores for it in kept), tuple(float(it.memory_bytes) for it in kept))


def _by_number(agent_id: str) -> tuple[str, int]:
    stem, _, number = agent_id.rpartition("-")
    return (stem, int(number)) if number.isdigit() else (agent_id, 0)
