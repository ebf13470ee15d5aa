"""Game day: the newest hurt, and what the rows tell of the time after it."""

import asyncio
from datetime import datetime

import msgspec

from appliance.core.errors import StoreAway
from appliance.core.orders import Pause
from appliance.core.postgres import Postgres
from control_plane.queries.cluster import AgentLine, Queries


class Fact(msgspec.Struct, frozen=True):
    """One thing that happened."""

    at: datetime
    kind: str
    """hurt, order, death, start, elected or served."""
    what: str


class GameView(msgspec.Struct, frozen=True):
    """What game day shows."""

    agents: tuple[AgentLine, ...]
    facts: tuple[Fact, ...]
    """Since the newest hurt, in order."""
    began: datetime | None
    """When the newest hurt was asked for; None: never."""
    away: tuple[str, ...]
    paused: Pause | None
    enabled: bool
    """Whether GAME_DAY is on."""

    def after(self, fact: Fact) -> float:
        """Return the seconds from the hurt to a fact."""
        return (fact.at - self.began).total_seconds() if self.began else 0.0


class GameReads:
    """Reads the aftermath of the newest hurt."""

    def __init__(self, postgres: Postgres, queries: Queries, *, enabled: bool) -> None:
        self._postgres = postgres
        self._queries = queries
        self._enabled = enabled

    async def view(self) -> GameView:
        """Read it; a store that is away is named, never an error."""
        overview, (began, facts) = await asyncio.gather(self._queries.overview(), self._aftermath())
        return GameView(overview.agents, facts, began, overview.away, overview.paused, self._enabled)

    async def _aftermath(self) -> tuple[datetime | None, tuple[Fact, ...]]:
        try:
            began = await self._postgres.value("newest_hurt")
            rows = await self._postgres.rows("aftermath", since=began) if began else []
        except StoreAway:
            return None, ()
        return began, tuple(Fact(**row) for row in rows)
