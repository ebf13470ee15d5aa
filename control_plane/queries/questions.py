"""What people are asked about calls of tools: what is open, and what was answered, expired or withdrawn."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from appliance.core.postgres import Postgres

NEWEST = 100


class Question(msgspec.Struct, frozen=True):
    """One question; `answer` is None while it is open."""

    id: UUID
    task: UUID
    conversation: UUID | None
    step: int
    about: int
    """0: may this be called? Else the attempt whose call has an unknown outcome."""
    tool: str
    input: dict[str, Any]
    person: str
    asked_at: datetime
    expires_at: datetime
    answer: str | None
    answered_by: str
    answered_at: datetime | None


class QuestionsView(msgspec.Struct, frozen=True):
    """The open ones, the oldest first, and the newest of the others; at most NEWEST of each."""

    open: tuple[Question, ...]
    closed: tuple[Question, ...]


class QuestionReads:
    """Reads questions.

    Raises:
        StoreAway: PostgreSQL does not answer.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def view(self) -> QuestionsView:
        """Return what is asked now, and what came of what was asked."""
        rows = [Question(**row) for row in await self._postgres.rows("questions", limit=NEWEST)]
        return QuestionsView(
            tuple(it for it in rows if it.answer is None), tuple(it for it in rows if it.answer is not None)
        )
