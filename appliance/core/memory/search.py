"""Search in one person's memories: by meaning and by words at once, in any language, and never without an answer.

What it finds in the index is read again from rows, by primary key: who erased a memory a moment ago does not see it.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.embeddings import Embedder
from appliance.core.errors import EmbedderAway, EmbedderRefused, NoIndex, StoreAway
from appliance.core.memory.index import MemoryIndex, Ranked, Whose
from appliance.core.memory.items import TRUSTS, Kind, Memory, Trust
from appliance.core.memory.ranking import Hit, foremost, ranked
from appliance.core.memory.schema import IndexName
from appliance.core.memory.store import memory_of
from appliance.core.memory.words import MAX_WORDS, words
from appliance.core.metrics import MEMORY_SEARCH_SECONDS
from appliance.core.postgres import Postgres
from appliance.core.records import User
from appliance.core.vectors import Vector, dimensions

log = logs.get("memory")
KNOWN_S = 2.0
"""So long the name of the index that is searched is taken to be known."""
DEEPER = 2
"""Times as many are ranked and read as are wanted: weights move some up, and some are no longer there."""
BY_WORDS = "Searched by words only: the embedding server does not answer."
OTHER_MODEL = "Searched by words only: the index is still that of another embedding model."
WITHOUT_INDEX = "Searched word by word in PostgreSQL: there is no index of memories at the moment."
WITHOUT_REDIS = "Searched word by word in PostgreSQL: Redis does not answer."
_SECONDS = {how: MEMORY_SEARCH_SECONDS.labels(how) for how in ("meaning", "words", "rows")}


class Found(NamedTuple):
    """Hits, the best first, and in words what the search had to do without; '' when nothing."""

    hits: tuple[Hit, ...]
    note: str = ""


class MemorySearch:
    """Searches for one process. `other` asks the same server for another model, while an index is being replaced."""

    def __init__(
        self, index: MemoryIndex, postgres: Postgres, embedder: Embedder, other: Callable[[str], Embedder] | None = None
    ) -> None:
        self._index = index
        self._postgres = postgres
        self._embedder = embedder
        self._other = other
        self._searched: tuple[float, IndexName] | None = None

    async def search(
        self, user: User, query: str, *, limit: int = 10, types: Sequence[Kind] = (), topics: Sequence[str] = (),
        trusts: Sequence[Trust] = TRUSTS,
    ) -> Found:  # fmt: skip
        """Return up to `limit` living memories of `user` that fit `query`, and a note when something was away.

        Raises:
            StoreAway: PostgreSQL does not answer, so that nobody knows which memories still are.
        """
        began = time.perf_counter()
        whose = Whose(user.tenant_id, user.id, types, topics, () if set(trusts) == set(TRUSTS) else trusts)
        said = words(query)[:MAX_WORDS]
        try:
            found, note = await self._in_index(whose, query, said, limit * DEEPER)
            how = "words" if note else "meaning"
        except StoreAway as error:
            note = WITHOUT_INDEX if isinstance(error, NoIndex) else WITHOUT_REDIS
            log.info("memories_searched_in_rows", why=str(error))
            hits, how = await self._in_rows(whose, said, limit), "rows"
        else:
            ids = foremost([id_ for id_, _ in found.near], found.told, limit * DEEPER)
            hits = ranked(found.near, found.told, await self._living(whose, ids), now=datetime.now(UTC), limit=limit)
        _SECONDS[how].observe(time.perf_counter() - began)
        return Found(hits, note)

    async def _in_index(self, whose: Whose, query: str, said: list[str], limit: int) -> tuple[Ranked, str]:
        """Search the index in force; one that was replaced since it was looked up is looked up again."""
        for known in (True, False):
            name = await self._name(known=known)
            vector, note = await self._vector(query, name)
            try:
                return await self._index.find(name, whose, words=said, vector=vector, limit=limit), note
            except NoIndex:
                self._searched = None
        raise NoIndex

    async def _name(self, *, known: bool) -> IndexName:
        if known and self._searched and monotonic() < self._searched[0]:
            return self._searched[1]
        name = await self._index.searched()
        self._searched = monotonic() + KNOWN_S, name
        return name

    async def _vector(self, query: str, name: IndexName) -> tuple[Vector | None, str]:
        """Return the query's vector of the index's model; without one, a note that says why."""
        if not query.strip():
            return None, ""
        embedder = self._embedder
        if embedder.model != name.model:
            if self._other is None:
                return None, OTHER_MODEL
            embedder = self._other(name.model)
        try:
            [vector] = await embedder.embed([query], query=True)
        except EmbedderRefused:
            return None, BY_WORDS if embedder is self._embedder else OTHER_MODEL
        except EmbedderAway:
            return None, BY_WORDS
        return (vector, "") if dimensions(vector) == name.dims else (None, _unlike(vector, name))

    async def _living(self, whose: Whose, ids: list[str]) -> dict[str, Memory]:
        rows = (
            await self._postgres.rows("living_memories", tenant=whose.tenant, user=whose.user, ids=ids) if ids else []
        )
        return {memory.id: memory for memory in map(memory_of, rows)}

    async def _in_rows(self, whose: Whose, said: list[str], limit: int) -> tuple[Hit, ...]:
        rows = await self._postgres.rows(
            "memories_with_words", tenant=whose.tenant, user=whose.user, words=said, types=list(whose.types),
            topics=list(whose.topics), trusts=list(whose.trusts), limit=limit,
        )  # fmt: skip
        memories = {memory.id: memory for memory in map(memory_of, rows)}
        return ranked([], list(memories), memories, now=datetime.now(UTC), limit=limit)


def _unlike(vector: Vector, name: IndexName) -> str:
    return (
        f"Searched by words only: the embedding server now answers {dimensions(vector)} dimensions for"
        f" {name.model}, the index holds {name.dims}."
    )
