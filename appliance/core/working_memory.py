"""Working memory: a conversation's hot state in Redis JSON, rebuilt from rows when Redis lost it (DESIGN 10)."""

from typing import Any

import msgspec

from appliance.core.keys import Keys
from appliance.core.postgres import Postgres
from appliance.core.records import Turn
from appliance.core.redis import Redis, answering

RECENT = 20
"""Messages a model is told of the past."""


class Said(msgspec.Struct, frozen=True):
    """One message of the past."""

    role: str
    text: str


class Session(msgspec.Struct, frozen=True):
    """The seed's session document, as far as a turn needs it. `messages_count` is its version."""

    conv_id: str
    user_id: str
    owner_agent: str
    model: str
    messages_count: int
    recent_messages: tuple[Said, ...]
    token_estimate: int
    ttl_seconds: int
    answered_turn: int
    """The last turn that is in here; a turn trusts the document only when this is the one before it."""


class WorkingMemory:
    """Load and keep sessions."""

    def __init__(self, redis: Redis, postgres: Postgres, *, ttl_s: int) -> None:
        self._redis = redis
        self._postgres = postgres
        self._keys: Keys = redis.keys
        self._ttl_s = ttl_s

    async def recall(self, turn: Turn) -> tuple[Said, ...]:
        """Return what was said before `turn`: from Redis if it knows all of it, else from rows."""
        async with answering():
            found: Any = await self._redis.data.json().get(self._keys.session(turn.conversation_id))
        if found and found.get("answered_turn") == turn.turn_no - 1:
            return msgspec.convert(found["recent_messages"], tuple[Said, ...])
        return await self._from_rows(turn)

    async def _from_rows(self, turn: Turn) -> tuple[Said, ...]:
        rows = await self._postgres.rows(
            "history", conversation=turn.conversation_id, turn_no=turn.turn_no, limit=RECENT
        )
        return tuple(Said(role=row["role"], text=row["text"]) for row in rows)

    async def remember(self, turn: Turn, past: tuple[Said, ...], answer: str, *, agent: str, model: str) -> None:
        """Keep the session as it is after `turn`; an older writer never wins.

        Raises:
            StoreAway: Redis does not answer; nothing is lost, the next turn reads rows.
        """
        recent = (*past, Said("user", turn.text), Said("assistant", answer))[-RECENT:]
        session = Session(
            conv_id=turn.conversation_id,
            user_id=turn.user_id,
            owner_agent=agent,
            model=model,
            messages_count=2 * turn.turn_no,
            recent_messages=recent,
            token_estimate=sum(len(said.text) for said in recent) // 4,
            ttl_seconds=self._ttl_s,
            answered_turn=turn.turn_no,
        )
        await self._redis.call(
            "save_session",
            [self._keys.session(turn.conversation_id)],
            [msgspec.json.encode(session), session.messages_count, self._ttl_s],
        )
