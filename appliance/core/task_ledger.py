"""The ledger of work: one row a task, a turn is one (PROTOCOLS 7). Every change is one fenced statement."""

import hashlib
from typing import Any, Literal
from uuid import uuid4

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.errors import StaleAttempt, StaleEpoch
from appliance.core.metrics import TURN_WAIT
from appliance.core.postgres import Postgres, Row
from appliance.core.records import Accepted, Task, TaskState, Turn, User

ORCHESTRATE = "orchestrate"
"""Role of a turn that publishes sub-agents."""


SWEEPS = ("dead", "waiting", "unannounced", "expired", "unasked", "schedules", "promotions", "memories")
Effect = Literal["pure", "idempotent", "side_effecting"]
"""What a call changes outside: nothing; nothing more when it is made again with the same key; something each time."""


class Step(msgspec.Struct, frozen=True):
    """One journaled call; `result` is set when an earlier attempt finished it, then it is replayed, not repeated."""

    no: int
    idem_key: str
    state: Literal["intent", "done", "unknown"]
    """`unknown`: it has side effects and was begun by `attempt`, and nobody can say what became of it."""
    attempt: int
    result: dict[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether the result stands."""
        return self.state == "done"


class Answer(msgspec.Struct, frozen=True):
    """What ends a turn: the state, and the text if there is one."""

    state: TaskState
    text: str | None = None
    reason: str = ""
    model: str = ""
    meta: dict[str, Any] = msgspec.field(default_factory=dict)


class TeamUse(msgspec.Struct, frozen=True):
    """The sub-agents of a turn: their tasks by idempotency key, what their calls used, seconds since the first came."""

    tasks: dict[str, str]
    tokens: int
    seconds: float


class TaskLedger:
    """Accept, claim, journal and end turns."""

    def __init__(
        self, postgres: Postgres, *, turn_timeout_s: float, max_queued: int, promote_after_s: float = 300.0
    ) -> None:  # fmt: skip
        """`promote_after_s`: so long a conversation rests before it is read for memories."""
        self._postgres = postgres
        self._promote_after_s = promote_after_s
        self._deadline_s = turn_timeout_s
        self._max_queued = max_queued

    async def accept(
        self,
        user: User,
        conversation: str,
        text: str,
        *,
        client_id: str,
        boot: str | None,
        create: bool = False,
        role: str = "",
    ) -> Accepted:
        """Commit a message and its turn; with `boot` the turn is claimed for it in the same transaction.

        A turn of role ORCHESTRATE is claimed by the primary only.

        Idempotent on `client_id`: the same message sent twice is one turn.

        Raises:
            NotFound: no such conversation of this user. Overloaded: too many wait. StoreAway: nothing was accepted.
        """
        trace = uuid4().hex
        row = await self._postgres.row(
            "accept_turn",
            tenant=user.tenant_id, user=user.id, conversation=conversation, create=create, client_id=client_id,
            text=text, task=uuid4(), message=uuid4(), trace=trace, boot=boot, deadline_s=self._deadline_s,
            max_queued=self._max_queued, role=role,
        )  # fmt: skip
        assert row is not None  # noqa: S101 - the function returns a row or raises
        turn = Turn(
            id=str(row["task_id"]), conversation_id=conversation, user_id=user.id, turn_no=row["turn_no"],
            state=TaskState(row["state"]), attempt=row["attempt"], text=text, owner_boot=boot,
            tenant_id=user.tenant_id, trace_id=trace,
        )  # fmt: skip
        return Accepted(turn=turn, message_id=str(row["message_id"]), duplicate=row["duplicate"])

    async def claim(self, boot: str, limit: int, *, leads: bool = False) -> list[Turn]:
        """Take up to `limit` due turns for `boot`, which `leads` if it is the primary's; none for one that is dead."""
        rows = await self._postgres.rows(
            "claim_turns", boot=boot, limit=limit, deadline_s=self._deadline_s, leads=leads
        )
        for row in rows:
            TURN_WAIT.observe(row["waited_s"])
        return [turn_of(row) for row in rows]

    async def turn(self, turn_id: str) -> Turn | None:
        """Read one turn's row."""
        row = await self._postgres.row("turn", task=turn_id)
        return turn_of(row) if row else None

    async def begin_step(
        self, turn: Turn | Task, boot: str, no: int, *, kind: str, name: str, input_text: str,
        effect: Effect = "pure", given: dict[str, Any] | None = None,
    ) -> Step:  # fmt: skip
        """Write the intent of a call before it is made, under a key that every attempt shares.

        Raises:
            StaleAttempt: this attempt no longer owns the turn: do not make the call.
        """
        row = await self._postgres.row(
            "begin_step",
            task=turn.id, attempt=turn.attempt, boot=boot, no=no, kind=kind, name=name, key=key_of(turn, no),
            hash=hash_of(input_text), effect=effect, input=None if given is None else Jsonb(given),
        )  # fmt: skip
        if row is None:
            raise StaleAttempt(turn=turn.id, attempt=turn.attempt)
        return Step(no, row["idem_key"], row["state"], row["attempt"], row["result"])

    async def finish_step(self, turn: Turn | Task, no: int, *, name: str, result: dict[str, Any], tokens: int) -> bool:
        """Keep a call's result: a fact even after a release; False when a later attempt took the step over."""
        done = await self._postgres.value(
            "finish_step",
            task=turn.id, attempt=turn.attempt, no=no, name=name, result=Jsonb(result), tokens=tokens,
        )  # fmt: skip
        return done is not None

    async def team_of(self, turn: str) -> TeamUse:
        """Return which sub-agents a turn has published and what they have used, failed tries included."""
        rows = await self._postgres.rows("team_of", parent=turn)
        return TeamUse(
            {row["idem_key"]: str(row["id"]) for row in rows},
            sum(row["tokens"] for row in rows), max((row["age_s"] for row in rows), default=0.0),
        )  # fmt: skip

    async def end(self, turn: Turn, boot: str, answer: Answer, *, agent: str) -> str:
        """Commit the end of a turn, once, and return the answer's message id.

        Raises:
            StaleAttempt: the turn is another attempt's now; discard.
        """
        message = str(uuid4())
        ended = await self._postgres.value(
            "end_turn",
            task=turn.id, attempt=turn.attempt, boot=boot, state=answer.state, reason=answer.reason,
            result=Jsonb(answer.meta), message=message, text=answer.text, agent=agent, model=answer.model,
            meta=Jsonb(answer.meta),
        )  # fmt: skip
        if not ended:
            raise StaleAttempt(turn=turn.id, attempt=turn.attempt)
        return message

    async def retry(self, turn: Turn, boot: str, *, reason: str, delay_s: float) -> None:
        """Queue a failed try again after `delay_s`; raises StaleAttempt like `end`."""
        if not await self._postgres.value(
            "retry_turn", task=turn.id, attempt=turn.attempt, boot=boot, reason=reason, delay_s=delay_s
        ):
            raise StaleAttempt(turn=turn.id, attempt=turn.attempt)

    async def cancel(self, user: User, turn_id: str) -> TaskState:
        """Ask for a turn's end: at once if it has not begun, else by a durable flag. Returns the state then.

        Raises:
            NotFound: no such turn of this user.
        """
        state = await self._postgres.value("cancel_turn", tenant=user.tenant_id, user=user.id, task=turn_id)
        return TaskState(state)

    async def cancelled_among(self, turn_ids: list[str]) -> set[str]:
        """Return those of `turn_ids` whose end was asked for."""
        return {str(row["id"]) for row in await self._postgres.rows("cancelled_among", tasks=turn_ids)}

    async def running_of(self, boot: str) -> dict[str, int]:
        """Return id → attempt of all turns the ledger believes `boot` runs."""
        return {str(row["id"]): row["attempt"] for row in await self._postgres.rows("running_of", boot=boot)}

    async def overdue(self, boot: str) -> list[str]:
        """Return this boot's running turns that are past their deadline."""
        return [str(row["id"]) for row in await self._postgres.rows("overdue", boot=boot)]

    async def note_crash(self, boot: str) -> int:
        """Suspect what `boot` runs: its runner died by itself. Returns how much of it is dead by that (7.6)."""
        return int(await self._postgres.value("note_crash", boot=boot))

    async def bury(self, boot: str, reason: str) -> bool:
        """Record the moment of death of a boot (PROTOCOLS 7.3); False when it was recorded before."""
        return bool(await self._postgres.value("bury_boot", boot=boot, reason=reason))

    async def release(self, boot: str, *, turns_only: bool) -> int:
        """Hand a boot's running work back to the queue; return how much."""
        return int(await self._postgres.value("release_boot", boot=boot, turns_only=turns_only))

    async def register_boot(self, boot: str, agent_id: str) -> None:
        """Begin a life of a runner: work may be claimed for it from now on."""
        await self._postgres.rows("register_boot", boot=boot, agent=agent_id)

    async def living_boots(self, agent_id: str | None = None) -> dict[str, str]:
        """Return boot → agent id of all boots not known to be dead, or of one agent's."""
        return {str(row["boot"]): row["agent_id"] for row in await self._postgres.rows("living_boots", agent=agent_id)}

    async def is_dead(self, boot: str) -> bool:
        """Whether a boot has been declared dead: then it must not work on."""
        return bool(await self._postgres.value("boot_is_dead", boot=boot))

    async def sweeps_due(self, epoch: int) -> dict[str, bool]:
        """Return which of a primary's sweeps would find something: work of the dead, turns to wake, last words to say,
        questions that expired or went unsaid, schedules to fire, conversations to read for memories.

        Raises:
            StaleEpoch: another primary is in force.
        """
        row = await self._postgres.row("sweeps_due", epoch=epoch, promote_after_s=self._promote_after_s)
        if row is None or not row["in_force"]:
            raise StaleEpoch(epoch=epoch)
        return {name: bool(row[name]) for name in SWEEPS}

    async def sweep_dead(self, epoch: int, boot: str) -> int:
        """Release running work of dead boots as the primary of `epoch`: the level-triggered net. Returns how much.

        Raises:
            StaleEpoch: another primary is in force; nothing was changed.
        """
        return await self._as_primary("sweep_dead", epoch, boot)

    async def sweep_waiting(self, epoch: int, boot: str) -> int:
        """Queue waiting turns with nothing left to wait for, as the primary of `epoch`; StaleEpoch as above."""
        return await self._as_primary("sweep_waiting", epoch, boot)

    async def _as_primary(self, statement: str, epoch: int, boot: str) -> int:
        changed = await self._postgres.value(statement, epoch=epoch, boot=boot)
        if changed is None:
            raise StaleEpoch(epoch=epoch)
        return int(changed)

    async def unannounced(self) -> list[Row]:
        """Return ended turns whose last event may be missing, each with its message and answer."""
        return await self._postgres.rows("unannounced")

    async def ended(self, conversation: str, turn_id: str) -> Row | None:
        """Return an ended turn of a conversation with its answer; None while it goes on, or of another conversation."""
        return await self._postgres.row("ended_turn", conversation=conversation, task=turn_id)

    async def announced(self, turn_id: str, attempt: int, state: TaskState) -> None:
        """Stamp that the last event of a turn is in its stream."""
        await self._postgres.rows("announced", task=turn_id, attempt=attempt, state=state)

    async def queued_before(self, turn_id: str) -> int:
        """Return how many due turns stand before this one."""
        return int(await self._postgres.value("queued_before", task=turn_id) or 0)


def key_of(work: Turn | Task, no: int) -> str:
    """Return what a step is known by outside. Pure. All attempts share it until the payload is changed: then the step
    answers another question.
    """
    edited = f"edit-{work.edits}:" if isinstance(work, Task) and work.edits else ""
    return f"{work.id}:{edited}{no}"


def hash_of(text: str) -> str:
    """Return what a step's input, and a person's answer to it, is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def turn_of(row: Row) -> Turn:
    """Return the record of a ledger row joined with its message."""
    return Turn(
        id=str(row["id"]), conversation_id=str(row["conversation_id"]), user_id=str(row["user_id"]),
        turn_no=row["turn_no"], state=TaskState(row["state"]), attempt=row["attempt"], text=row["message"],
        reason=row["reason"], crash_count=row["crash_count"], fail_count=row["fail_count"],
        owner_boot=str(row["owner_boot"]) if row["owner_boot"] else None, tenant_id=row["tenant_id"],
        trace_id=row["trace_id"], cancel_requested=row["cancel_requested_at"] is not None,
        waits_for=row["waits_for"], answered=_was_answered(row),
        ready=row["payload"].get("answer"),
    )  # fmt: skip


def _was_answered(row: Row) -> bool:
    """Whether a person's answer is why a turn goes on, and not the end of whoever ran it."""
    answered, released = row["answered_at"], row["released_at"]
    return answered is not None and (released is None or answered > released)
