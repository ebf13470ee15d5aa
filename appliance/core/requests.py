"""Requests that no row can carry out (restart, kill, freeze): audited before and after, answered once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from appliance.core.errors import Conflict, NexusError
from appliance.core.postgres import Postgres

_AUDITED = 500
"""Characters of what a person typed that the audit log keeps."""


class Requests:
    """Begins and ends them."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def answer(self, key: UUID) -> str | None:
        """Return what became of a request that was made before with this key; None when there was none.

        Raises:
            Conflict: it has not ended.
        """
        row = await self._postgres.row("request", key=key)
        if row is None:
            return None
        if row["answer"] is None:
            raise Conflict(f"This request ({row['action']} {row['subject']}) is under way, or was cut off: look first.")
        return str(row["answer"])

    async def begin(self, key: UUID, *, action: str, subject: str, by: str, **detail: object) -> None:
        """Audit what is about to be done.

        Raises:
            Conflict: the key was used before.
        """
        await self._postgres.rows(
            "begin_request",
            key=key,
            by=by,
            action=action,
            subject=subject,
            detail=json.dumps(detail),
            trace=uuid4().hex,
        )

    async def end(self, key: UUID, outcome: str) -> None:
        """Keep what became of it, a sentence without its full stop, and audit it; nothing happens the second time."""
        await self._postgres.rows("end_request", key=key, outcome=outcome)

    @asynccontextmanager
    async def refusals(self, action: str, subject: str, by: str) -> AsyncIterator[None]:
        """Audit whatever is refused inside, with the sentence that says why; a store that is away refuses nothing."""
        try:
            yield
        except NexusError as error:
            if error.status < 500:
                await self.refused(action=action, subject=subject, by=by, why=error.detail)
                error.audited = True
            raise

    async def refused(self, *, action: str, subject: str, by: str, why: str) -> None:
        """Audit what somebody asked for and was not given."""
        said, detail = subject[:_AUDITED], json.dumps({"why": why[:_AUDITED]})
        await self._postgres.rows(
            "audit", actor=by, action=f"{action}: refused", subject=said, detail=detail, trace=uuid4().hex
        )
