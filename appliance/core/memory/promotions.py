"""Conversations that rest, and what was said in them: what promotion reads. Stamps are put by `MemoryStore.keep`."""

from datetime import datetime

import msgspec

from appliance.core.postgres import Postgres
from appliance.core.records import User

MOST_TURNS = 50
"""Turns read at a time; a longer conversation takes several ranges."""


class Due(msgspec.Struct, frozen=True):
    """Turns of a conversation that has rested long enough, all of which have ended."""

    user: User
    conversation: str
    from_turn: int
    to_turn: int

    @property
    def key(self) -> str:
        """What makes reading them one task, whoever publishes it."""
        return f"promote:{self.conversation}:{self.from_turn}"


class Said(msgspec.Struct, frozen=True):
    """A message of a person, and when it was accepted."""

    message: str
    turn_no: int
    text: str
    at: datetime


class Promotions:
    """The rows behind promotion; StoreAway when PostgreSQL is away."""

    def __init__(self, postgres: Postgres, *, delay_s: float) -> None:
        self._postgres = postgres
        self._delay_s = delay_s

    async def due(self, limit: int) -> list[Due]:
        """Return ranges for which there is no task yet, of those that rest the longest."""
        rows = await self._postgres.rows("idle_conversations", delay_s=self._delay_s, most=MOST_TURNS, limit=limit)
        return [
            Due(
                User(id=str(row["user_id"]), name="", tenant_id=row["tenant_id"]), str(row["id"]), row["from_turn"],
                row["to_turn"],
            )
            for row in rows
        ]  # fmt: skip

    async def said(self, user: User, conversation: str, from_turn: int, to_turn: int) -> list[Said] | None:
        """Return what a person said in a range, in order; None when the conversation was deleted or is another's."""
        rows = await self._postgres.rows(
            "said_in", tenant=user.tenant_id, user=user.id, conversation=conversation, from_turn=from_turn,
            to_turn=to_turn,
        )  # fmt: skip
        if not rows:
            return None
        return [Said(str(row["message"]), row["turn_no"], row["text"], row["at"]) for row in rows if row["message"]]

    async def lag_s(self) -> float:
        """Return for how many seconds the oldest conversation has been due; 0 when none is."""
        return max(0.0, float(await self._postgres.value("longest_idle")) - self._delay_s)
