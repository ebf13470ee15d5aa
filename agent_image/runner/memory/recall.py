"""What is remembered of a person when a turn begins: found by its message, journaled, quoted (DESIGN 10).

The first attempt decides, and only numbers of rows are journaled: a later attempt on another agent quotes the same
memories, without those that were erased meanwhile. Memory never holds up a turn for longer than `Bounds` say, nor
fails it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from agent_image.runner.memory.patience import Patience
from agent_image.runner.memory.quoting import block, within
from appliance.core import logs
from appliance.core.errors import StaleAttempt
from appliance.core.memory.items import Memory, Trust
from appliance.core.memory.ranking import Hit
from appliance.core.memory.search import Found
from appliance.core.memory.store import MemoryStore
from appliance.core.metrics import MEMORY_RECALLS
from appliance.core.records import Turn, User
from appliance.core.task_ledger import Step, TaskLedger

log = logs.get("memory")
STEP = 0
"""Number of the journaled step: before the first model call, which is 1."""
NAME = "memory_recall"
LOOKED_AT = 10
TRUSTED: tuple[Trust, ...] = ("user", "agent")
"""What tools and web pages said is only found by who searches for it."""
AWAY = "memory was not available"


class Search(Protocol):
    """Finds a person's memories (`appliance.core.memory.search`)."""

    async def search(self, user: User, query: str, *, limit: int, trusts: Sequence[Trust]) -> Found:
        """Return living ones that fit a text, as their rows are now, the best first, and what was away."""


class Recalled(msgspec.Struct, frozen=True):
    """What a turn is told of its person, and the note when nothing could be found out."""

    memories: tuple[Memory, ...] = ()
    note: str = ""

    @property
    def quoted(self) -> str:
        """What stands in the prompt; '' without memories."""
        return block(self.memories)

    def facts(self) -> dict[str, Any]:
        """Return what the answer's row keeps, and pages are told: numbers, never texts, so that erasing holds."""
        used = [{"id": it.id, "no": it.no} for it in self.memories]
        return ({"memories": used} if used else {}) | ({"memory_note": self.note} if self.note else {})


class Bounds(msgspec.Struct, frozen=True):
    """How much a turn is told: tokens (0: nothing) of memories up to this cosine distance, found in so many seconds."""

    tokens: int
    farthest: float
    within_s: float = 0.3


class Recall:
    """Recalls for turns."""

    def __init__(self, search: Search, store: MemoryStore, ledger: TaskLedger, boot: str, bounds: Bounds) -> None:
        self._search = search
        self._store = store
        self._ledger = ledger
        self._boot = boot
        self._bounds = bounds
        self._patience = Patience()

    async def of(self, turn: Turn) -> Recalled:
        """Return what this turn is told, the same in every attempt.

        Raises:
            StaleAttempt: somebody else has the turn. StoreAway: call it again, the ledger does not answer.
        """
        if not self._bounds.tokens:
            return Recalled()
        step = await self._ledger.begin_step(turn, self._boot, STEP, kind="tool", name=NAME, input_text=turn.text)
        return await self._again(turn, step) if step.done else await self._first(turn)

    async def _again(self, turn: Turn, step: Step) -> Recalled:
        result = step.result or {}
        ids: list[str] = result["memories"]
        rows = {it.id: it for it in await self._store.among(person_of(turn), ids)}
        return Recalled(tuple(rows[it] for it in ids if it in rows), result["note"])

    async def _first(self, turn: Turn) -> Recalled:
        recalled = await self._found(turn)
        result = {"memories": [it.id for it in recalled.memories], "note": recalled.note}
        if not await self._ledger.finish_step(turn, STEP, name=NAME, result=result, tokens=0):
            raise StaleAttempt(turn=turn.id, attempt=turn.attempt)
        MEMORY_RECALLS.labels("memories" if recalled.memories else "away" if recalled.note else "nothing").inc()
        return recalled

    async def _found(self, turn: Turn) -> Recalled:
        searching = self._search.search(person_of(turn), turn.text, limit=LOOKED_AT, trusts=TRUSTED)
        try:
            found = await self._patience.within(self._bounds.within_s, searching, of=f"memories for {turn.id}")
        except Exception as error:  # whatever is wrong with memory, the turn goes on
            log.warning("not_recalled", turn=turn.id, error=repr(error))
            found = None
        if found is None:
            return Recalled(note=AWAY)
        return Recalled(
            within(fitting(found.hits, self._bounds.farthest), self._bounds.tokens), AWAY if found.note else ""
        )


def fitting(hits: Sequence[Hit], farthest: float) -> list[Memory]:
    """Return what may be quoted of what was found: near in meaning, still holding, and not from tools and web pages."""
    near = [it.memory for it in hits if it.distance is not None and it.distance <= farthest]
    return [it for it in near if it.living and it.trust in TRUSTED]


def person_of(turn: Turn) -> User:
    """Return whose turn it is, as far as their memories are concerned."""
    return User(id=turn.user_id, name="", tenant_id=turn.tenant_id)
