"""Who did what: the audit log, a page at a time, and whether its chain of hashes is whole."""

import re
from datetime import datetime
from typing import Any

import msgspec

from appliance.core.postgres import Postgres

PAGE = 50
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Entry(msgspec.Struct, frozen=True):
    """One audited act."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The details for people: values in short, long ids by their beginning."""
        return [(name, _short(value)) for name, value in self.detail.items() if value not in (None, "", [])]


def _short(value: object) -> str:
    if isinstance(value, str):
        return value[:8] if _ID.fullmatch(value) else value
    return msgspec.json.encode(value).decode()


class Filter(msgspec.Struct, frozen=True):
    """What is looked for; '' = anything. A subject is found by any part of it."""

    person: str = ""
    action: str = ""
    subject: str = ""


class Chain(msgspec.Struct, frozen=True):
    """Whether the log is as it was written. What was cut off at its end cannot be seen from it alone."""

    entries: int
    broken_at: int | None
    """The first entry that was changed, or whose predecessor is missing."""


class AuditReads:
    """Reads the audit log.

    Raises:
        StoreAway: PostgreSQL does not answer.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def entries(self, only: Filter, before: int | None = None) -> list[Entry]:
        """Return the newest entries, or the newest of those before one."""
        rows = await self._postgres.rows("audit_entries", before=before, limit=PAGE, **msgspec.structs.asdict(only))
        return [Entry(**row) for row in rows]

    async def choices(self) -> tuple[list[str], list[str]]:
        """Return the people and the actions that the filters offer."""
        row = await self._postgres.row("audit_choices") or {"people": [], "actions": []}
        return row["people"], row["actions"]

    async def chain(self) -> Chain:
        """Count every hash again."""
        return Chain(**(await self._postgres.row("audit_chain") or {"entries": 0, "broken_at": None}))
