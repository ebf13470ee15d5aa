"""A conversation's working memory: as Redis holds it, and the summary that its row keeps."""

from uuid import UUID

import msgspec

from appliance.core.errors import StoreAway
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.working_memory import Session, Summary, read_session, standing_summary


class SessionSeen(msgspec.Struct, frozen=True):
    """`session` is None when Redis holds none, which loses nothing: the next turn reads rows."""

    session: Session | None
    summary: Summary
    away: tuple[str, ...] = ()


class SessionReads:
    """Reads sessions."""

    def __init__(self, redis: Redis, postgres: Postgres) -> None:
        self._redis = redis
        self._postgres = postgres

    async def of(self, conversation: UUID) -> SessionSeen:
        """Return the session of one conversation; a Redis that is away is named. StoreAway: PostgreSQL is."""
        summary = await standing_summary(self._postgres, str(conversation))
        try:
            return SessionSeen(await read_session(self._redis, str(conversation)), summary)
        except StoreAway:
            return SessionSeen(None, summary, away=("Redis",))
