"""Tasks in batches: publish, claim, commit, fail (PROTOCOLS 7.2, 7.4, 7.6), one statement each."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
from psycopg.types.json import Jsonb

from appliance.core import needs
from appliance.core.errors import Overloaded, StaleAttempt
from appliance.core.postgres import Postgres, Row
from appliance.core.records import Ended, Priority, Task, TaskState, User

TRIES = 3
"""Failed tries after which a task is dead (7.6)."""
Told = tuple[str, str]
"""A task that Redis is to be told of: its id and its place, the priority or, directed, `priority:needs`."""


class Wanted(msgspec.Struct, frozen=True):
    """A task somebody wants done. The same `key` twice is one task; '' is a key of its own.

    Only an agent that has all it `needs` runs it (`gpu`, `agent:agent-2`); if it merely `prefers` them, any other does
    once nobody has had them for `needs.GRACE_S`.
    """

    kind: str
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    priority: Priority = "normal"
    delay_s: float = 0.0
    key: str = ""
    needs: tuple[str, ...] = ()
    prefers: bool = False


class Published(msgspec.Struct, frozen=True):
    """The ids of what was wanted, in that order, and what Redis is to be told of now."""

    ids: tuple[str, ...]
    told: tuple[Told, ...]


class Claimed(msgspec.Struct, frozen=True):
    """What a boot runs now, and which tasks have to wait since another suspect runs there (7.6)."""

    tasks: tuple[Task, ...]
    postponed: frozenset[str]


class Done(msgspec.Struct, frozen=True):
    """How an attempt of a task ended."""

    task: Task
    ended: Ended


class Flags(msgspec.Struct, frozen=True):
    """What the ledger says of a task that it believes to run here."""

    task: Task
    cancelled: bool
    overdue: bool

    @property
    def attempt(self) -> int:
        """The attempt that owns the row."""
        return self.task.attempt


class Progress(msgspec.Struct, frozen=True):
    """How far a child is: on which agent it runs, and how long it has."""

    state: TaskState
    agent: str
    seconds: float


class Waiting(msgspec.Struct, frozen=True):
    """Whether rows wait of which Redis was not told, and whether some wait of which it was."""

    untold: bool = False
    told: bool = False
    directed: bool = False
    """Whether some wait that not everybody may run; the others are told or untold."""


class Committed(msgspec.Struct, frozen=True):
    """Which tasks ended by a commit, and what Redis is to be told of next."""

    ended: tuple[str, ...]
    told: tuple[Told, ...]


class TaskBatches:
    """The ledger of tasks other than turns."""

    def __init__(self, postgres: Postgres, *, timeout_s: float, max_queued: int) -> None:
        self._postgres = postgres
        self._timeout_s = timeout_s
        self._max_queued = max_queued

    async def submit(
        self,
        user: User,
        wanted: Sequence[Wanted],
        *,
        generation: str | None,
        share: int,
        parent: str | None = None,
        conversation: str | None = None,
        trace: str = "",
    ) -> Published:
        """Commit tasks of one user. At most `share` of a user's rows are told to Redis at a time (7.4).

        Raises:
            Overloaded: too many of this user's wait. StoreAway: nothing was accepted. BadInput: it needs what no agent
            can have.
        """
        lanes = ["+".join(needs.checked(it.needs)) or None for it in wanted]
        directed = any(lanes)
        ids = [str(uuid4()) for _ in wanted]
        keys = [it.key or id_ for it, id_ in zip(wanted, ids, strict=True)]
        rows = await self._postgres.rows(
            "submit_tasks",
            tenant=user.tenant_id, user=user.id, parent=parent, conversation=conversation, trace=trace,
            gen=generation, share=share, limit=self._max_queued, ids=ids, kinds=[it.kind for it in wanted],
            priorities=[it.priority for it in wanted], payloads=[Jsonb(it.payload) for it in wanted], keys=keys,
            delays=[it.delay_s for it in wanted], lanes=lanes if directed else None,
            prefers=[it.prefers for it in wanted] if directed else None,
        )  # fmt: skip
        if not rows and wanted:
            raise Overloaded("Too many of your tasks are waiting already; try again in a moment.")
        found = {row["idem_key"]: str(row["id"]) for row in rows}
        told = tuple((str(row["id"]), row["priority"]) for row in rows if row["dispatched"])
        return Published(tuple(found[key] for key in keys), told)

    async def declare(self, boot: str, capabilities: Sequence[str]) -> bool:
        """Say what a boot can, before it claims anything: it is given nothing that needs more.

        False: its keeper has not registered it yet.
        """
        said = await self._postgres.value("declare_capabilities", boot=boot, capabilities=list(capabilities))
        return said is not None

    async def claim(self, boot: str, ids: Sequence[str]) -> Claimed:
        """Take those of `ids` that are still to be done for `boot`; none for a boot that is dead."""
        rows = await self._postgres.rows("claim_tasks", boot=boot, ids=list(ids), deadline_s=self._timeout_s)
        return Claimed(
            tuple(_task(row) for row in rows if row["state"] == "running"),
            frozenset(str(row["id"]) for row in rows if row["state"] == "queued"),
        )

    async def commit(self, boot: str, generation: str | None, done: Sequence[Done]) -> Committed:
        """End attempts, each once: what is somebody else's by now is refused, not raised."""
        rows = await self._postgres.rows(
            "commit_tasks",
            boot=boot, gen=generation, ids=[it.task.id for it in done], attempts=[it.task.attempt for it in done],
            states=[it.ended.state.value for it in done], reasons=[it.ended.reason for it in done],
            results=[None if it.ended.result is None else Jsonb(it.ended.result) for it in done],
        )  # fmt: skip
        return Committed(
            tuple(str(row["id"]) for row in rows if row["what"] == "ended"),
            tuple((str(row["id"]), row["priority"]) for row in rows if row["what"] == "next"),
        )

    async def fail(self, task: Task, boot: str, *, reason: str, delay_s: float) -> TaskState:
        """Queue a failed try again after `delay_s`, or end the task as dead after the third; returns its state.

        Raises:
            StaleAttempt: the row is another attempt's now.
        """
        state = await self._postgres.value(
            "fail_task", task=task.id, attempt=task.attempt, boot=boot, reason=reason, delay_s=delay_s, tries=TRIES
        )
        if state is None:
            raise StaleAttempt(task=task.id, attempt=task.attempt)
        return TaskState(state)

    async def running_of(self, boot: str) -> dict[str, Flags]:
        """Return what the ledger believes `boot` to run."""
        rows = await self._postgres.rows("tasks_running_of", boot=boot)
        return {str(row["id"]): Flags(_task(row), row["cancelled"], row["overdue"]) for row in rows}

    async def progress(self, parent: str) -> dict[str, Progress]:
        """Return how far the children of a task are."""
        rows = await self._postgres.rows("progress_of", parent=parent)
        return {str(row["id"]): Progress(TaskState(row["state"]), row["agent"], row["seconds"]) for row in rows}

    async def cancel_children(self, parent: str) -> None:
        """End the children of a task: at once if they have not begun, else by a durable flag."""
        await self._postgres.rows("cancel_children", parent=parent)

    async def ended(self, ids: Sequence[str]) -> dict[str, Ended]:
        """Return how those of `ids` ended that did."""
        rows = await self._postgres.rows("ended_tasks", ids=list(ids))
        return {
            str(row["id"]): Ended(TaskState(row["state"]), row["result"], row["reason"], row["seconds"]) for row in rows
        }

    async def waiting(self, generation: str) -> Waiting:
        """Return whether rows wait, be it for their time, by what this Redis was told; cheap when there are none."""
        row = await self._postgres.row("what_waits", gen=generation) or {}
        return Waiting(**row)

    async def undispatched(self, epoch: int, boot: str, generation: str, *, share: int, limit: int) -> list[Told]:
        """Stamp due rows that this Redis was not told of, as the primary of `epoch`; return them (7.4).

        Raises:
            StaleEpoch: another primary is in force; nothing was changed.
        """
        rows = await self._postgres.rows(
            "sweep_undispatched", epoch=epoch, boot=boot, gen=generation, share=share, limit=limit
        )
        return [(str(row["id"]), row["priority"]) for row in rows]

    async def directed(
        self, epoch: int, boot: str, generation: str, *, share: int, older_s: float, limit: int
    ) -> list[Told]:
        """Stamp the first `share` of each line of directed work that somebody alive can do; return those to be told.

        Those are rows that this Redis was not told of, or `older_s` ago. Preferences nobody can serve are given up.

        Raises:
            StaleEpoch: another primary is in force; nothing was changed.
        """
        rows = await self._postgres.rows(
            "sweep_directed",
            epoch=epoch, boot=boot, gen=generation, share=share, older_s=older_s, grace_s=needs.GRACE_S, limit=limit,
        )  # fmt: skip
        return [(str(row["id"]), row["place"]) for row in rows]

    async def unclaimed(self, epoch: int, boot: str, generation: str, *, older_s: float, limit: int) -> list[Told]:
        """Return rows told of `older_s` ago that still wait: their entries may be lost; StaleEpoch as above."""
        rows = await self._postgres.rows(
            "sweep_unclaimed", epoch=epoch, boot=boot, gen=generation, older_s=older_s, limit=limit
        )
        return [(str(row["id"]), row["priority"]) for row in rows]


def _task(row: Row) -> Task:
    return Task(
        id=str(row["id"]), kind=row["kind"], user_id=str(row["user_id"]), attempt=row["attempt"],
        payload=row["payload"], priority=row["priority"], tenant_id=row["tenant_id"],
        parent_id=str(row["parent_id"]) if row["parent_id"] else None,
        conversation_id=str(row["conversation_id"]) if row["conversation_id"] else None,
        fail_count=row["fail_count"], crash_count=row["crash_count"], trace_id=row["trace_id"],
        edits=row["edits"],
    )  # fmt: skip
