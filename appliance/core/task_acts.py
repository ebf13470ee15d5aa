"""What an operator does to tasks: cancel, requeue, discard. Audited, each once per key; pages, API and commands."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from uuid import UUID, uuid4, uuid5

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.errors import BadInput, Conflict, NotFound
from appliance.core.postgres import Postgres
from appliance.core.task_lists import MANY, TaskLists

Action = Literal["cancel", "requeue", "discard"]
ACTIONS: tuple[Action, ...] = get_args(Action)
MAX_PAYLOAD, MAX_REASON = 200_000, 200
"""Characters."""
_DONE = {"cancel": "cancelled or asked to stop", "requeue": "requeued", "discard": "discarded"}
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""An odd number of backslashes before it: as JSON writes the character itself."""
_NO_SUCH = "There is no such task."


class Outcome(msgspec.Struct, frozen=True):
    """What became of an act on one or many."""

    action: Action
    done: int
    refused: int
    why: dict[str, int]
    """Why not → how many."""

    @property
    def sentence(self) -> str:
        """It in words."""
        tasks = f"{self.done:,} task{'' if self.done == 1 else 's'} {_DONE[self.action]}."
        return " ".join([tasks, *(f"{number:,} not: {why}" for why, number in self.why.items())])


class TaskActs:
    """Does them. All raise StoreAway when PostgreSQL does not answer; nothing was done then."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._lists = TaskLists(postgres)

    async def one(
        self, action: Action, task: UUID, *, by: str, key: UUID, payload: str | None = None, reason: str = ""
    ) -> Outcome:
        """Do it to one task; `payload` is a JSON object to requeue it with instead of its own.

        Raises:
            NotFound: there is no such task. Conflict: it makes no sense for it; the sentence says why.
            BadInput: the payload is no JSON object.
        """
        edited = None if payload is None else checked_payload(payload)
        outcome = await self._act(action, [task], by, key, edited, reason)
        for why in outcome.why:
            raise NotFound(why) if why == _NO_SUCH else Conflict(why)
        return outcome

    async def many(self, action: Action, tasks: Sequence[UUID], *, by: str, key: UUID, reason: str = "") -> Outcome:
        """Do it to each of them for which it makes sense.

        Raises:
            BadInput: none was chosen.
        """
        ids = list(dict.fromkeys(tasks))
        if not ids:
            raise BadInput("No task was chosen: tick at least one.")
        batches = [ids[at : at + MANY] for at in range(0, len(ids), MANY)]
        keys = [key if not number else uuid5(key, str(number)) for number in range(len(batches))]
        found = [await self._act(action, it, by, own, None, reason) for it, own in zip(batches, keys, strict=True)]
        return _summed(action, found)

    async def all_dead(
        self, action: Action, kind: str, *, by: str, key: UUID, until: datetime | None = None, reason: str = ""
    ) -> Outcome:
        """Do it to all that were dead at a moment (None: now), of a kind or ('') of any; it may be repeated."""
        found = []
        async for ids in self._lists.dead(action, kind, until or datetime.now(UTC)):
            own = uuid5(key, " ".join(map(str, ids)))
            found.append(await self._act(action, ids, by, own, None, reason))
        return _summed(action, found)

    async def _act(
        self, action: Action, ids: Sequence[UUID], by: str, key: UUID, payload: dict[str, Any] | None, reason: str
    ) -> Outcome:
        answer = await self._postgres.value(
            "act_on_tasks",
            key=key, by=by, action=action, ids=list(ids), payload=None if payload is None else Jsonb(payload),
            reason=" ".join(reason.split())[:MAX_REASON], trace=uuid4().hex,
        )  # fmt: skip
        why = Counter(it["why"] for it in answer if it["why"])
        return Outcome(action, len(answer) - why.total(), why.total(), dict(why))


def _summed(action: Action, found: Sequence[Outcome]) -> Outcome:
    why: Counter[str] = sum((Counter(it.why) for it in found), Counter())
    return Outcome(action, sum(it.done for it in found), why.total(), dict(why))


def checked_payload(text: str) -> dict[str, Any]:
    """Return what a person typed as a task's payload.

    Raises:
        BadInput: it is too long, no JSON, no object, or holds what PostgreSQL cannot keep.
    """
    if len(text) > MAX_PAYLOAD:
        raise BadInput(f"The payload has more than {MAX_PAYLOAD:,} characters.")
    try:
        found = json.loads(text, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        said = f"{error.msg} in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise BadInput(f"The payload is not JSON: {said}.") from None
    if not isinstance(found, dict):
        raise BadInput('The payload has to be a JSON object, such as {"path": "a.png"}.')
    if _NUL.search(json.dumps(found)):
        raise BadInput("The payload contains a NUL character, which cannot be stored.")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
