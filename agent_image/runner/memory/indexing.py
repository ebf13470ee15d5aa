"""Keeps the index of memories what the rows say: whoever wrote at once, the primary for everybody who could not.

All of it may be done twice and by several agents at once: a row's version decides (`lua/index_memories.lua`). Another
embedding model is another index: it is filled beside the one that is searched, which goes only after the switch.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from agent_image.runner.memory.retiring import Retiring
from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.embeddings import Embedder
from appliance.core.errors import EmbedderAway, NexusError, NoIndex, StoreAway
from appliance.core.memory.index import MemoryIndex
from appliance.core.memory.indexed import IndexedRows, Unindexed
from appliance.core.memory.schema import IndexName
from appliance.core.vectors import dimensions

log = logs.get("memory")
LOOK_S, HURRY_S = 5.0, 0.5
"""Between looks at what Redis has; while an index is being made."""
DRIFT_S, REBUILD_S = 60.0, 3600.0
"""Between comparisons of rows with documents, which count all of them; and between rebuilds that follow from them."""
ROWS, TEXTS = 200, 32
"""Taken at once: rows to be written, texts to be embedded."""


class Indexing:
    """One agent's share of the work on the index."""

    def __init__(self, index: MemoryIndex, rows: IndexedRows, embedder: Embedder, leads: Callable[[], bool]) -> None:
        self._index = index
        self._rows = rows
        self._embedder = embedder
        self._leads = leads
        self._retiring = Retiring(index, rows)
        self._nudged = asyncio.Event()
        self._embedded = ""
        """The index all of whose rows were seen to have vectors. To ask is dear: a row without one takes it back."""
        self._dims, self._unfit = 0, set[str]()
        """Dimensions of the model's vectors; 0: to be asked. Memories whose vectors had others."""
        self._told = ("", "")
        self._compared_at, self._rebuilt_at, self._drift = monotonic(), -REBUILD_S, 0

    async def nudge(self, _epoch: int) -> None:
        """Say that there are changes which no index holds yet: a sweep of the primary."""
        self._nudged.set()

    async def run(self) -> None:
        """Look every few seconds while this agent leads, at once when nudged; until cancelled."""
        while True:
            waits_s = LOOK_S
            self._nudged.clear()  # before it is done: what changes meanwhile nudges again
            if self._leads():
                try:
                    waits_s = await self.once()
                except NexusError as error:
                    self._tell("memories_not_indexed", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(waits_s):
                    await self._nudged.wait()

    def _tell(self, event: str, error: NexusError) -> None:
        """Log what stands in the way, once as long as it is the same."""
        if self._told != (event, error.detail):
            self._told = event, error.detail
            log.info(event, error=str(error))

    async def write(self, ids: Iterable[str]) -> None:
        """Bring documents of memories that were just changed up to their rows; the primary makes up for failures."""
        try:
            await self._write(list(ids))
        except (StoreAway, EmbedderAway) as error:
            log.info("memories_indexed_later", error=str(error))

    async def erase(self, ids: Sequence[str]) -> None:
        """Remove the documents of memories that were just erased; the primary makes up for failures."""
        try:
            await self._index.remove(await self._index.wanted(), ids)
        except StoreAway as error:
            log.info("memories_removed_later", error=str(error))

    async def once(self) -> float:
        """Bring the index up to the rows; return after how many seconds to look again.

        Raises:
            StoreAway: a store is away; what was done is done.
        """
        generation, build = await self._index.life()
        target = await self._target(build)
        if target is None:
            return LOOK_S
        wanted = await self._index.wanted()
        if not wanted.get(target):
            await self._index.want(target)
        current = f"{generation} {target}"
        await self._remove_erased(current)
        await self._write(await self._rows.changed(ROWS))
        embedded = await self._embed_some(target, current)
        if embedded:
            return 0.0
        await self._fill(current, target)
        return await self._bring_into_force(target, wanted, whole=embedded is not None)

    async def _bring_into_force(self, target: IndexName, wanted: Mapping[IndexName, bool], *, whole: bool) -> float:
        """Let a filled index be searched, then those before it go. One that lacks vectors only if there is no other."""
        try:
            standing = await self._index.standing(target)
        except NoIndex:
            return HURRY_S
        searched = await self._searched()
        if not standing.ready:
            return HURRY_S
        if searched not in (None, target) and not whole:
            return LOOK_S
        if searched != target:
            await self._index.switch(target)
            log.info("memory_index_in_force", index=str(target), documents=standing.documents)
        await self._compare(standing.documents, target.build)
        return LOOK_S if await self._retiring.retire(wanted, target) else HURRY_S

    async def _searched(self) -> IndexName | None:
        try:
            return await self._index.searched()
        except NoIndex:
            return None

    async def _target(self, build: int) -> IndexName | None:
        """Return the index there should be; None while nobody has said how many dimensions the model has."""
        model = self._embedder.model
        try:
            if not self._dims:
                [vector] = await self._embedder.embed(["dimensions"])
                self._dims = dimensions(vector)
                await self._rows.drop_unfit(model, self._dims, list(self._unfit))
                self._unfit.clear()
            return IndexName(model, self._dims, build)
        except EmbedderAway as error:
            self._tell("embedder_away", error)
        known = [it for it in await self._index.wanted() if it.model == model]
        return known[-1]._replace(build=build) if known else None

    async def _embed_some(self, target: IndexName, current: str) -> int | None:
        """Give some rows their vectors, and return how many; None: the embedder is away."""
        if self._embedded == current:
            return 0
        missing = await self._rows.unembedded(target.model, TEXTS)
        if not missing:
            self._embedded = current
            return 0
        try:
            vectors = await self._embedder.embed([text for _, text in missing])
        except EmbedderAway as error:
            self._tell("memories_without_vectors", error)
            return None
        ids = [id_ for id_, _ in missing]
        await self._rows.put_vectors(target.model, list(zip(ids, vectors, strict=True)))
        return len(missing)

    async def _remove_erased(self, current: str) -> None:
        while ids := await self._rows.unremoved(current, ROWS):
            await self._index.remove(await self._index.wanted(), ids)
            await self._rows.mark_removed(current, ids)

    async def _fill(self, current: str, target: IndexName) -> None:
        """Write what this index has not got, and as long as that gets it somewhere."""
        while rows := await self._rows.unindexed(current, target.model, ROWS):
            if not await self._put(target, rows, current):
                break

    async def _write(self, ids: Sequence[str]) -> None:
        """Write memories to all indexes there are: the one that is searched, and one that is being filled."""
        if not ids:
            return
        generation, build = await self._index.life()
        for name in (name for name, wanted in (await self._index.wanted()).items() if wanted):
            is_target = name.model == self._embedder.model and name.build == build
            rows = await self._rows.of(name.model, ids)
            await self._put(name, rows, f"{generation} {name}" if is_target else "")

    async def _put(self, name: IndexName, rows: Sequence[Unindexed], current: str) -> int:
        """Write rows, and note it of those that are in as they should be; return how many."""
        closed = [row.memory for row in rows if not row.memory.living]
        await self._index.remove([name], [memory.id for memory in closed], for_good=False)
        living = [self._fitting(row, name) for row in rows if row.memory.living]
        done = closed + await self._index.put(name, living)
        bare = {row.memory.id for row in living if row.vector is None}
        if bare and self._leads():
            self._embedded = ""
        elif bare:  # whoever leads has to know that vectors are missing
            done = [memory for memory in done if memory.id not in bare]
        if current and done:
            await self._rows.mark(current, done)
        return len(done)

    def _fitting(self, row: Unindexed, name: IndexName) -> Unindexed:
        """Return a row with a vector the index can take. Others mean that the model's name means another one now."""
        if row.vector is None or dimensions(row.vector) == name.dims:
            return row
        log.warning("memory_vector_unfit", index=str(name), dimensions=dimensions(row.vector))
        self._dims = 0
        self._unfit.add(row.memory.id)
        return row._replace(vector=None)

    async def _compare(self, documents: int, build: int) -> None:
        """Rebuild an index that is not what the rows say, seen twice: a Redis that came back with older data, say."""
        if monotonic() < self._compared_at + DRIFT_S or (awaited := await self._rows.awaited()) is None:
            return
        before, self._drift = self._drift, awaited - documents
        self._compared_at = monotonic()
        if before and self._drift and monotonic() > self._rebuilt_at + REBUILD_S:
            log.warning("memory_index_drifted", drift=self._drift)
            self._rebuilt_at, self._drift = monotonic(), 0
            await self._index.rebuild(build)
