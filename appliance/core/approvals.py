"""What a person is asked before or after a tool is called: rows that outlive every process (DESIGN 12).

A question is bound to its task, its step and the hash of its arguments. `about` is 0 for "may this be called?", else
the attempt whose call has an unknown outcome. Who asks gives the task up; the answer queues it again.
"""

from typing import Any, Literal, get_args
from uuid import uuid4

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.errors import BadInput, StaleAttempt, StaleEpoch
from appliance.core.postgres import Postgres, Row
from appliance.core.records import Task, Turn, User

Choice = Literal["allow", "deny", "again", "happened", "skip"]
CHOICES: dict[bool, tuple[Choice, ...]] = {True: ("allow", "deny"), False: ("again", "happened", "skip")}
"""By whether the call is still to come."""


class Approval(msgspec.Struct, frozen=True):
    """One question and, once it is there, its answer: a choice, `expired` or `withdrawn`."""

    id: str
    task_id: str
    step_no: int
    about: int
    tool: str
    input: dict[str, Any]
    expires_at: float
    """Seconds since 1970."""
    choices: tuple[Choice, ...]
    """What may be answered."""
    answer: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what an event tells of it."""
        return msgspec.structs.asdict(self)


class Approvals:
    """Ask, answer, expire."""

    def __init__(self, postgres: Postgres, *, within_s: float) -> None:
        self._postgres = postgres
        self._within_s = within_s

    async def ask(
        self, task: Turn | Task, boot: str, no: int, *, about: int, tool: str, given: dict[str, Any], input_hash: str
    ) -> Approval:
        """Return the answered question, or put it: then this attempt has ended, and the row is nobody's.

        Raises:
            StaleAttempt: the task is another attempt's.
        """
        row = await self._postgres.row(
            "ask_person",
            task=task.id, attempt=task.attempt, boot=boot, no=no, about=about, id=uuid4(), tool=tool,
            input=Jsonb(given), hash=input_hash, within_s=self._within_s,
        )  # fmt: skip
        if row is None:
            raise StaleAttempt(task=task.id, attempt=task.attempt)
        return _approval(row)

    async def answer(self, user: User, conversation: str, approval: str, answer: str) -> Approval:
        """Answer a question of this user, once; return it with the answer that counts, which may be an earlier one.

        Raises:
            NotFound: there is none. BadInput: this cannot be answered to it.
        """
        if answer not in get_args(Choice):
            raise BadInput(f"Answer one of: {', '.join(get_args(Choice))}.")
        row = await self._postgres.row(
            "answer_approval",
            tenant=user.tenant_id, user=user.id, conversation=conversation, id=approval, answer=answer, by=user.name,
        )  # fmt: skip
        assert row is not None  # noqa: S101 - the function returns a row or raises
        return _approval(row)

    async def open_in(self, conversation: str) -> tuple[Approval, ...]:
        """Return what is asked in a conversation now."""
        return tuple(_approval(row) for row in await self._postgres.rows("open_approvals", conversation=conversation))

    async def doubt(self, task: Turn | Task, no: int) -> None:
        """Note that a call of this attempt ended without saying what it did."""
        await self._postgres.value("doubt_step", task=task.id, attempt=task.attempt, no=no)

    async def settle(self, task: Turn | Task, boot: str, no: int, result: dict[str, Any] | None) -> None:
        """End a doubt: with a result the step is done, without one this attempt may make the call again.

        Raises:
            StaleAttempt: the task is another attempt's.
        """
        given = None if result is None else Jsonb(result)
        if not await self._postgres.value(
            "settle_step", task=task.id, attempt=task.attempt, boot=boot, no=no, result=given
        ):
            raise StaleAttempt(task=task.id, attempt=task.attempt)

    async def sweep_expired(self, epoch: int, boot: str) -> int:
        """Let go on what nobody answered in time, as the primary of `epoch`; return how much; StaleEpoch."""
        expired = await self._postgres.value("sweep_expired", epoch=epoch, boot=boot)
        if expired is None:
            raise StaleEpoch(epoch=epoch)
        return int(expired)

    async def unannounced(self) -> list[tuple[Approval, str, int]]:
        """Return questions of which nobody may have been told, each with its conversation and its turn's attempt."""
        rows = await self._postgres.rows("unannounced_approvals")
        return [(_approval(row), str(row["conversation_id"]), row["attempt"]) for row in rows]

    async def announced(self, approval: str) -> None:
        """Stamp that a question is in its conversation's stream."""
        await self._postgres.rows("announced_approval", id=approval)


def _approval(row: Row) -> Approval:
    return Approval(
        id=str(row["id"]), task_id=str(row["task_id"]), step_no=row["step_no"], about=row["about"], tool=row["tool"],
        input=row["input"], expires_at=row["expires_at"].timestamp(),
        choices=CHOICES[row["about"] == 0], answer=row["answer"],
    )  # fmt: skip
