"""Tasks as people see them: how many wait, which there are, what happened to one. Read only; turns are tasks, too."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from appliance.core.errors import BadInput, NotFound
from appliance.core.postgres import Postgres, Row
from appliance.core.records import DEFAULT_TENANT, PRIORITIES, TaskState
from appliance.core.task_timeline import Asked, Attempt, Life, Moment, Refused, Rows, StepDone, timeline

PAGE, MOST, CHILDREN, TURNS = 50, 10_000, 100, 20
"""Rows of a page; how far a backlog is counted; children and turns that are shown at a time."""
MANY = 500
"""Tasks that are acted upon in one transaction."""
_BEGINNING = re.compile(r"[0-9a-f]{4,32}")
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Filter(msgspec.Struct, frozen=True):
    """What is looked for; '' = anything. `oldest`: the oldest first."""

    state: str = ""
    kind: str = ""
    priority: str = ""
    person: str = ""
    conversation: str = ""
    oldest: bool = False

    @property
    def chosen(self) -> dict[str, str]:
        """What of it is set, as an address says it."""
        return {
            name: "true" if value is True else value for name, value in msgspec.structs.asdict(self).items() if value
        }


class TaskLine(msgspec.Struct, frozen=True):
    """One task in a list."""

    id: UUID
    kind: str
    role: str
    priority: str
    state: TaskState
    attempt: int
    fail_count: int
    crash_count: int
    person: str
    conversation_id: UUID | None
    parent_id: UUID | None
    turn_no: int | None
    agent: str
    """Who runs it, or let go of it last; '' when nobody did."""
    created_at: datetime
    due_at: datetime
    state_at: datetime
    claimed_at: datetime | None
    reason: str
    stopping: bool
    """Asked to stop; its agent has not yet."""
    about: str
    """The beginning of a turn's message, or of a task's payload."""
    no_cancel: str
    """Why it cannot be cancelled; '' when it can."""
    no_requeue: str
    no_discard: str
    at: datetime
    """What lists are ordered by: when it may run while it waits, when it began or ended otherwise."""
    needs: tuple[str, ...] = ()
    """What an agent has to have to run it."""
    prefers: bool = False
    """Whether it merely prefers that: once nobody has it, anybody may."""
    no_agent: str = ""
    """Why nobody runs it while it waits; '' when somebody can."""

    @property
    def is_turn(self) -> bool:
        """Whether it answers somebody's message."""
        return self.kind == "conversation"


class PriorityLine(msgspec.Struct, frozen=True):
    """One priority. Numbers stop at `MOST`."""

    priority: str
    waiting: int
    later: int
    """Those whose time is still to come: put off after a failure, or on purpose."""
    running: int
    dead: int
    oldest_s: float
    """For how long the first in line could have run."""


class TaskPage(msgspec.Struct, frozen=True):
    """How much waits, and a page of tasks; `next` is the cursor of the page after it, null on the last."""

    priorities: tuple[PriorityLine, ...]
    tasks: tuple[TaskLine, ...]
    next: str | None
    away: tuple[str, ...] = ()
    """Stores that did not answer; set by pages that go on without them."""

    @property
    def dead(self) -> int:
        """How many are dead, counted up to `MOST` a priority."""
        return sum(line.dead for line in self.priorities)


class TaskSeen(msgspec.Struct, frozen=True):
    """One task with all that is kept of it."""

    line: TaskLine
    payload: dict[str, Any]
    result: Any
    message: str
    """A turn's: what was asked."""
    answer: str
    moments: tuple[Moment, ...]
    parent: TaskLine | None
    children: tuple[TaskLine, ...]
    """The first hundred."""
    away: tuple[str, ...] = ()


class TurnSeen(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    line: TaskLine
    message: str
    answer: str
    moments: tuple[Moment, ...]


class ConversationSeen(msgspec.Struct, frozen=True):
    """A conversation with a page of its turns, the newest first; `before` is the turn the next page begins below."""

    id: UUID
    title: str
    person: str
    created_at: datetime
    updated_at: datetime
    deleted: bool
    turns: tuple[TurnSeen, ...]
    before: int | None


class TaskLists:
    """Reads them. All raise StoreAway when PostgreSQL does not answer."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def page(self, only: Filter, after: str = "", limit: int = PAGE) -> TaskPage:
        """Return how much waits and the tasks after a cursor.

        Raises:
            BadInput: there is no such state, priority, person or conversation, or that is no cursor of ours.
        """
        wanted = {"limit": limit + 1, **await self._wanted(only), **_cursor(after)}
        numbers, rows = await asyncio.gather(self.priorities(), self._postgres.rows("task_lines", **wanted))
        tasks = _all(TaskLine, rows[:limit])
        more = f"{tasks[-1].at.isoformat()}_{tasks[-1].id}" if len(rows) > limit else None
        return TaskPage(numbers, tasks, more)

    async def priorities(self) -> tuple[PriorityLine, ...]:
        """Return how much waits, by priority, the highest first."""
        return _all(PriorityLine, await self._postgres.rows("tasks_by_priority", most=MOST))

    async def _wanted(self, only: Filter) -> dict[str, Any]:
        _one_of(only.state, list(TaskState), "state")
        _one_of(only.priority, PRIORITIES, "priority")
        person = (
            await self._postgres.row("user_by_name", tenant=DEFAULT_TENANT, name=only.person) if only.person else None
        )
        if only.person and not person:
            raise BadInput(f"There is nobody called {only.person[:64]!r}.")
        return {
            "state": only.state, "kind": only.kind, "priority": only.priority, "user": person and person["id"],
            "conversation": _uuid(only.conversation) if only.conversation else None, "oldest": only.oldest,
        }  # fmt: skip

    async def find(self, typed: str) -> UUID:
        """Return the id of the task somebody means, who may type only the beginning of it.

        Raises:
            BadInput: that is no beginning of an id, or several begin so. NotFound: none does.
        """
        digits = typed.strip().lower().replace("-", "")
        if not _BEGINNING.fullmatch(digits):
            raise BadInput(f"{typed[:64]!r} is not the id of a task: 4 to 32 hexadecimal digits, as lists show them.")
        bounds = {"first": UUID(digits.ljust(32, "0")), "last": UUID(digits.ljust(32, "f"))}
        found = [row["id"] for row in await self._postgres.rows("ids_like", **bounds)]
        if not found:
            raise NotFound(f"There is no task {typed[:64]}.")
        if len(found) > 1:
            raise BadInput(f"Several tasks begin with {typed[:64]}: type more of it.")
        return UUID(str(found[0]))

    async def line(self, task: UUID) -> TaskLine:
        """Return one task as lists show it; NotFound when there is none."""
        row = await self._postgres.row("task_line", task=task)
        if row is None:
            raise NotFound(f"There is no task {task}.")
        return _all(TaskLine, [row])[0]

    async def one(self, task: UUID) -> TaskSeen:
        """Return one task with all that is kept of it; NotFound when there is none."""
        line = await self.line(task)
        contents, children, moments, parent = await asyncio.gather(
            self._postgres.row("task_contents", task=task),
            self._postgres.rows("child_lines", parent=task, limit=CHILDREN),
            self._moments([task]),
            self._postgres.row("task_line", task=line.parent_id),
        )
        assert contents is not None  # noqa: S101 - tasks are never removed
        above = _all(TaskLine, [parent])[0] if parent else None
        return TaskSeen(line, moments=moments[task], parent=above, children=_all(TaskLine, children), **contents)

    async def conversation(self, typed: str, before: int | None = None) -> ConversationSeen:
        """Return a conversation with its newest turns, or the newest of those before one; NotFound, BadInput."""
        id_ = _uuid(typed)
        about, rows = await asyncio.gather(
            self._postgres.row("conversation_seen", conversation=id_),
            self._postgres.rows("turn_lines", conversation=id_, before=before, limit=TURNS + 1),
        )
        if about is None:
            raise NotFound("There is no such conversation.")
        lines = _all(TaskLine, rows[:TURNS])
        ids = [line.id for line in lines]
        texts, moments = await asyncio.gather(self._postgres.rows("turn_texts", tasks=ids), self._moments(ids))
        said = {(row["task_id"], row["role"]): row["text"] for row in texts}
        turns = tuple(
            TurnSeen(it, said.get((it.id, "user"), ""), said.get((it.id, "assistant"), ""), moments[it.id])
            for it in lines
        )
        return ConversationSeen(turns=turns, before=lines[-1].turn_no if len(rows) > TURNS else None, **about)

    async def dead(self, action: str, kind: str, until: datetime) -> AsyncIterator[tuple[UUID, ...]]:
        """Yield the ids of what was dead at a moment and can be acted upon, `MANY` at a time, the oldest first."""
        after: dict[str, Any] = _cursor("")
        while rows := await self._postgres.rows("dead_ids", action=action, kind=kind, until=until, limit=MANY, **after):
            if ids := tuple(row["id"] for row in rows if row["makes_sense"]):
                yield ids
            after = {"after_at": rows[-1]["at"], "after_id": rows[-1]["id"]}

    async def _moments(self, tasks: Sequence[UUID]) -> dict[UUID, tuple[Moment, ...]]:
        names = ("life_of", "attempts_of", "steps_of", "acts_of", "refusals_of")
        found = await asyncio.gather(*(self._postgres.rows(name, tasks=[str(it) for it in tasks]) for name in names))
        lives, attempts, steps, asked, refused = found
        tried, called = _by_task(Attempt, attempts), _by_task(StepDone, steps)
        acts, late = _by_task(Asked, asked), _by_task(Refused, refused)
        return {
            life.task: timeline(Rows(life, tried[key], called[key], acts[key], late[key]))
            for life in _all(Life, lives) if (key := str(life.task))
        }  # fmt: skip


def _all(kind: type[Struct], rows: Iterable[Row]) -> tuple[Struct, ...]:
    names = set(kind.__struct_fields__)
    return tuple(msgspec.convert({n: v for n, v in row.items() if n in names}, kind) for row in rows)


def _by_task(kind: type[Struct], rows: Iterable[Row]) -> dict[str, tuple[Struct, ...]]:
    found: dict[str, tuple[Struct, ...]] = defaultdict(tuple)
    for row in rows:
        found[str(row["task"])] += _all(kind, [row])
    return found


def _cursor(text: str) -> dict[str, Any]:
    if not text:
        return {"after_at": None, "after_id": None}
    at, _, id_ = text.rpartition("_")
    try:
        return {"after_at": datetime.fromisoformat(at), "after_id": UUID(id_)}
    except ValueError:
        raise BadInput("This is no cursor of ours: take `next` of the page before as it is.") from None


def _one_of(typed: str, known: Sequence[str], what: str) -> None:
    if typed and typed not in known:
        raise BadInput(f"There is no {what} {typed[:64]!r}; there are: {', '.join(known)}.")


def _uuid(typed: str) -> UUID:
    try:
        return UUID(typed)
    except ValueError:
        raise BadInput(f"{typed[:64]!r} is not an id of a conversation.") from None
