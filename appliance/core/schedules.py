"""Reminders and jobs that come again, as rows: accepted, listed, cancelled, and fired by the primary.

Instants are aware datetimes by PostgreSQL's clock, the one clock all agents share; which time zone they are meant in is
the schedule's own.
"""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.errors import NotFound, StaleEpoch
from appliance.core.postgres import Postgres, Row
from appliance.core.records import DEFAULT_TENANT, Turn, User

MAX_ACTIVE = 100
"""Reminders and jobs one person may have at a time."""
Missed = Literal["once", "skip"]
"""After runs were missed: one late run for all of them, or none."""
Outcome = Literal["fired", "skipped", "overtaken"]


class Wish(msgspec.Struct, frozen=True):
    """What a person wants done when: once, or again and again as `cron` says in `time_zone`."""

    text: str
    time_zone: str
    next_at: datetime
    cron: str = ""
    missed: Missed = "once"


class Schedule(msgspec.Struct, frozen=True):
    """One reminder (`once`) or job (`cron`). `no` is its number among its person's, for commands."""

    id: str
    no: int
    kind: Literal["once", "cron"]
    text: str
    time_zone: str
    state: Literal["active", "done", "cancelled"]
    conversation_id: str
    cron: str = ""
    missed: Missed = "once"
    next_at: datetime | None = None
    last_fired_at: datetime | None = None
    user_id: str = ""
    tenant_id: str = DEFAULT_TENANT


class Due(msgspec.Struct, frozen=True):
    """One that is due, and since when; `now` by the same clock."""

    schedule: Schedule
    at: datetime
    now: datetime

    @property
    def late_s(self) -> float:
        """Seconds since it was due."""
        return (self.now - self.at).total_seconds()


class Firing(msgspec.Struct, frozen=True):
    """What becomes of one instant: the turn's message, its answer if it has one already, and when it comes again.

    `next_at` None: never. `skip`: this instant was missed, no turn is made.
    """

    next_at: datetime | None
    message: str
    answer: str | None = None
    role: str = ""
    note: str = ""
    skip: bool = False


class Fired(msgspec.Struct, frozen=True):
    """What came of an instant; if it was fired, the ids of its turn and message."""

    outcome: Outcome
    turn: str
    message: str


class Schedules:
    """The table of them. `time_zone` is that of people who name none."""

    def __init__(self, postgres: Postgres, *, time_zone: str) -> None:
        self._postgres = postgres
        self.time_zone = time_zone

    async def create(self, user: User, conversation: str, wish: Wish, *, id_: str) -> Schedule:
        """Commit a wish; the same id twice is one schedule.

        Raises:
            NotFound: no such conversation of this user. Conflict: the id is somebody else's. Overloaded: MAX_ACTIVE.
        """
        row = await self._postgres.row(
            "create_schedule",
            id=id_, tenant=user.tenant_id, user=user.id, conversation=uuid_of(conversation),
            kind="cron" if wish.cron else "once", cron=wish.cron, zone=wish.time_zone, text=wish.text,
            missed=wish.missed, next_at=wish.next_at, trace=uuid4().hex, max=MAX_ACTIVE,
        )  # fmt: skip
        assert row is not None  # noqa: S101 - the function returns a row or raises
        return _schedule(row)

    async def listing(self, user: User) -> list[Schedule]:
        """Return a person's active ones, the next one first."""
        rows = await self._postgres.rows("schedules_of", tenant=user.tenant_id, user=user.id)
        return [_schedule(row) for row in rows]

    async def cancel(self, user: User, *, id_: str | None = None, no: int | None = None) -> Schedule:
        """Cancel one, by id or number; one that had ended before is returned as it ended. NotFound for another's."""
        row = await self._postgres.row(
            "cancel_schedule", tenant=user.tenant_id, user=user.id, id=uuid_of(id_) if id_ else None, no=no
        )
        if row is None:
            raise NotFound("There is no such reminder or job of yours; `/reminders` lists them.")
        return _schedule(row)

    async def asked_at(self, turn: Turn) -> datetime:
        """Return when a turn's message was accepted."""
        asked: datetime = await self._postgres.value("asked_at", task=turn.id)
        return asked

    async def due(self, limit: int) -> list[Due]:
        """Return up to `limit` that are due, the oldest first; none whose last run has not ended."""
        rows = await self._postgres.rows("due_schedules", limit=limit)
        return [Due(_schedule(row), row["next_at"], row["now"]) for row in rows]

    async def fire(self, epoch: int, boot: str, due: Due, firing: Firing) -> Fired:
        """Make the turn of one due instant and move the schedule on, in one transaction, as the primary of `epoch`.

        Raises:
            StaleEpoch: another primary is in force; nothing was changed.
        """
        payload: dict[str, Any] = {} if firing.answer is None else {"answer": firing.answer}
        meta = {"schedule": due.schedule.no, "note": firing.note}
        turn, message = str(uuid4()), str(uuid4())
        outcome: Outcome | None = await self._postgres.value(
            "fire_schedule",
            epoch=epoch, boot=boot, schedule=due.schedule.id, due=due.at, next_at=firing.next_at, skip=firing.skip,
            task=turn, message=message, text=firing.message, role=firing.role, payload=Jsonb(payload),
            meta=Jsonb(meta),
        )  # fmt: skip
        if outcome is None:
            raise StaleEpoch(epoch=epoch)
        return Fired(outcome, turn, message)


def uuid_of(text: str) -> str:
    """Return an id as PostgreSQL writes it; NotFound when it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound() from None


def _schedule(row: Row) -> Schedule:
    return Schedule(
        id=str(row["id"]), no=row["no"], kind=row["kind"], text=row["text"], time_zone=row["time_zone"],
        state=row["state"], conversation_id=str(row["conversation_id"]), cron=row["cron"], missed=row["missed"],
        next_at=_utc(row["next_at"]), last_fired_at=_utc(row["last_fired_at"]), user_id=str(row["user_id"]),
        tenant_id=row["tenant_id"],
    )  # fmt: skip


def _utc(at: datetime | None) -> datetime | None:
    """Return an instant in UTC: rows come in the time zone of the session."""
    return at and at.astimezone(UTC)
