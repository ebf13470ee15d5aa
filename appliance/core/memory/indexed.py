"""What the index of memories does not hold yet, for whoever keeps it: rows against the index's name (DESIGN 10).

`current` names an index and the life of Redis it is in, so that an empty Redis, or another model's index, is simply
another name: every row is to be indexed again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from appliance.core.memory.items import Memory
from appliance.core.memory.store import memory_of
from appliance.core.postgres import Postgres
from appliance.core.vectors import Vector, from_wire, to_text


class Unindexed(NamedTuple):
    """A memory as it is now, and its vector, if it has one of the index's model. Not living: its document goes."""

    memory: Memory
    vector: Vector | None


class IndexedRows:
    """The rows' side of the index."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def unindexed(self, current: str, model: str, limit: int) -> list[Unindexed]:
        """Return up to `limit` memories that `current` does not hold as they are."""
        rows = await self._postgres.rows("unindexed_memories", current=current, model=model, limit=limit)
        return [Unindexed(memory_of(row), from_wire(row["vector"])) for row in rows]

    async def changed(self, limit: int) -> list[str]:
        """Return ids of memories whose newest version no index holds."""
        return [str(row["id"]) for row in await self._postgres.rows("changed_memories", limit=limit)]

    async def of(self, model: str, ids: Sequence[str]) -> list[Unindexed]:
        """Return these memories as they are, with their vectors of one model."""
        rows = await self._postgres.rows("memories_to_index", model=model, ids=list(ids))
        return [Unindexed(memory_of(row), from_wire(row["vector"])) for row in rows]

    async def awaited(self) -> int | None:
        """Return how many documents there should be; None while changes are on their way."""
        counted = await self._postgres.row("measured_memories") or {}
        return None if counted["unindexed"] else int(counted["items"])

    async def known_ids(self, after: str, limit: int) -> list[str]:
        """Return ids that may have had a document, in their order, after one of them."""
        return [str(row["id"]) for row in await self._postgres.rows("known_memory_ids", after=after, limit=limit)]

    async def mark(self, current: str, written: Sequence[Memory]) -> None:
        """Note that `current` holds these versions; what has changed since stays to be indexed."""
        await self._postgres.rows(
            "mark_memories", current=current, ids=[it.id for it in written], versions=[it.version for it in written]
        )

    async def unremoved(self, current: str, limit: int) -> list[str]:
        """Return ids of erased memories whose documents may still be in `current`."""
        return [str(row["id"]) for row in await self._postgres.rows("unremoved_memories", current=current, limit=limit)]

    async def mark_removed(self, current: str, ids: Sequence[str]) -> None:
        """Note that `current` holds these no more."""
        await self._postgres.rows("mark_removed", current=current, ids=list(ids))

    async def unembedded(self, model: str, limit: int) -> list[tuple[str, str]]:
        """Return (id, text) of living memories without a vector of this model, the oldest first."""
        rows = await self._postgres.rows("unembedded_memories", model=model, limit=limit)
        return [(str(row["id"]), row["text"]) for row in rows]

    async def put_vectors(self, model: str, vectors: Sequence[tuple[str, Vector]]) -> None:
        """Keep vectors of (id, vector); those memories are to be indexed anew."""
        await self._postgres.rows(
            "put_vectors", model=model, ids=[id_ for id_, _ in vectors], vectors=[to_text(it) for _, it in vectors]
        )

    async def drop_vectors(self, *, other_than: str, limit: int) -> int:
        """Remove up to `limit` vectors of other models; return how many there were."""
        return int(await self._postgres.value("drop_vectors", model=other_than, limit=limit))

    async def drop_unfit(self, model: str, dims: int, ids: Sequence[str]) -> None:
        """Remove those vectors of a model that have other dimensions: they are of one that had its name before."""
        if ids:
            await self._postgres.rows("drop_unfit_vectors", model=model, dims=dims, ids=list(ids))
