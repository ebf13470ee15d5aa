"""What is remembered of a person when a turn begins: found by its message, journaled, quoted (DESIGN 10).

The first attempt decides, and only numbers of rows are journaled: a later attempt on another agent quotes the same
memories, without those that were erased meanwhile. Memory never holds up a turn for longer than WITHIN_S, nor fails it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from agent_image.runner.memory import quoting
from appliance.core import logs
from appliance.core.errors import StaleAttempt
from appliance.core.memory.items import Memory, Near, Trust
from appliance.core.memory.store import MemoryStore
from appliance.core.records import Turn, User
from appliance.core.task_ledger import Step, TaskLedger

log = logs.get("memory")
WITHIN_S = 0.3
"""Seconds a turn waits for what is remembered."""
STEP = 0
"""Number of the journaled step: before the first model call, which is 1."""
NAME = "memory_recall"
LOOKED_AT = 10
TRUSTED: tuple[Trust, ...] = ("user", "agent")
"""What tools and web pages said is only found by who searches for it."""
AWAY = "memory was not available"


class Search(Protocol):
    """Finds a person's memories."""

    async def __call__(self, user: User, query: str, *, limit: int, trusts: Sequence[Trust]) -> Sequence[Near]:
        """Return those that fit a text, the best first; an index may lag behind the rows. Raises NexusError."""


class Recalled(msgspec.Struct, frozen=True):
    """What a turn is told of its person, and the note when nothing could be found out."""

    memories: tuple[Memory, ...] = ()
    note: str = ""

    @property
    def block(self) -> str:
        """The quotation in the prompt; '' without memories."""
        return quoting.block(self.memories)

    def facts(self) -> dict[str, Any]:
        """Return what the answer's row keeps, and pages are told: numbers, never texts, so that erasing holds."""
        used = [{"id": it.id, "no": it.no} for it in self.memories]
        return ({"memories": used} if used else {}) | ({"memory_note": self.note} if self.note else {})


class Recall:
    """Recalls for turns, within a number of tokens; 0: never."""

    def __init__(
        self, search: Search, store: MemoryStore, ledger: TaskLedger, boot: str, *, tokens: int, farthest: float
    ) -> None:  # fmt: skip
        self._search = search
        self._store = store
        self._ledger = ledger
        self._boot = boot
        self._tokens = tokens
        self._farthest = farthest
        self._late: set[asyncio.Task[Sequence[Memory]]] = set()

    async def of(self, turn: Turn) -> Recalled:
        """Return what this turn is told, the same in every attempt.

        Raises:
            StaleAttempt: somebody else has the turn. StoreAway: call it again, the ledger does not answer.
        """
        if not self._tokens:
            return Recalled()
        step = await self._ledger.begin_step(turn, self._boot, STEP, kind="tool", name=NAME, input_text=turn.text)
        return await self._again(turn, step) if step.done else await self._first(turn)

    async def _again(self, turn: Turn, step: Step) -> Recalled:
        result = step.result or {}
        ids: list[str] = result["memories"]
        rows = {it.id: it for it in await self._store.among(_person(turn), ids)}
        return Recalled(tuple(rows[it] for it in ids if it in rows), result["note"])

    async def _first(self, turn: Turn) -> Recalled:
        recalled = await self._found(turn)
        result = {"memories": [it.id for it in recalled.memories], "note": recalled.note}
        if not await self._ledger.finish_step(turn, STEP, name=NAME, result=result, tokens=0):
            raise StaleAttempt(turn=turn.id, attempt=turn.attempt)
        return recalled

    async def _found(self, turn: Turn) -> Recalled:
        """Search for as long as a turn may wait. A search that takes longer is left alone, not cut off: a store's
        half-read answer would be the next caller's.
        """
        searching = asyncio.create_task(self._fitting(turn), name=f"memories for {turn.id}")
        self._late.add(searching)
        searching.add_done_callback(self._ended)
        await asyncio.wait([searching], timeout=WITHIN_S)
        if not searching.done() or searching.cancelled() or searching.exception():
            return Recalled(note=AWAY)
        return Recalled(quoting.within(searching.result(), self._tokens))

    async def _fitting(self, turn: Turn) -> Sequence[Memory]:
        person = _person(turn)
        near = await self._search(person, turn.text, limit=LOOKED_AT, trusts=TRUSTED)
        rows = {it.id: it for it in await self._store.among(person, [it.memory.id for it in near])}
        return fitting(near, rows, farthest=self._farthest)

    def _ended(self, search: asyncio.Task[Sequence[Memory]]) -> None:
        self._late.discard(search)
        if not search.cancelled() and (error := search.exception()):
            log.warning("not_recalled", error=str(error))


def fitting(near: Sequence[Near], rows: Mapping[str, Memory], *, farthest: float) -> list[Memory]:
    """Return what may be quoted of what a search found, as the rows have it now: `rows` holds those that are left.

    Not what is too far away, holds no more, or comes from tools and web pages.
    """
    close = [rows[it.memory.id] for it in near if it.distance <= farthest and it.memory.id in rows]
    return [it for it in close if it.living and it.trust in TRUSTED]


def _person(turn: Turn) -> User:
    return User(id=turn.user_id, name="", tenant_id=turn.tenant_id)
