"""The index of memories in RediSearch, through redisvl: written and searched; it holds nothing that rows do not.

Searches name the index they search, never its alias: a vector belongs to one model's index, and the alias may have
moved meanwhile. Whoever finds no index asks anew which one it is.
"""

import asyncio
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from appliance.core import keys as k
from appliance.core.errors import NoGeneration, NoIndex
from appliance.core.memory.items import Kind, Memory, Trust
from appliance.core.memory.schema import FIELDS, VECTOR, IndexName, document, tag
from appliance.core.memory.upkeep import no_index
from appliance.core.redis import Redis, answering
from appliance.core.vectors import Vector

AT_ONCE = 16
"""Documents written by one step: each costs Redis about a millisecond, and a beat must never wait for 0.3 s."""
SEARCH_MS = 1500
"""Less than the call may take. After its own 500 ms RediSearch would return what it has so far, and not say so."""
TAKEN_AT_ONCE = 500
"""Documents removed by one step, which is cheap where no index holds them."""


class Whose(NamedTuple):
    """Whose memories, and which of them, are searched; nothing named: all."""

    tenant: str
    user: str
    types: Sequence[Kind] = ()
    topics: Sequence[str] = ()
    trusts: Sequence[Trust] = ()


class Ranked(NamedTuple):
    """Ids by meaning (nearest first, with cosine distance) and by words (best first)."""

    near: list[tuple[str, float]]
    told: list[str]


class Standing(NamedTuple):
    """One index: its documents, those it could not take, and whether all are in it since it was made."""

    documents: int
    failures: int
    ready: bool


class MemoryIndex:
    """All indexes of memories under one prefix. Every call: StoreAway when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._data: Any = redis.data
        self._keys = redis.keys
        self._searchers: dict[str, Any] = {}

    async def life(self) -> tuple[str, int]:
        """Return the generation of Redis in force and how often a rebuild was asked for; NoGeneration: it is empty."""
        async with answering():
            found = await self._data.mget(self._keys.generation, self._keys.memory_build)
        if not found[0]:
            raise NoGeneration
        return str(found[0]), int(found[1] or 0)

    async def rebuild(self, build: int) -> None:
        """Ask for an index made anew from rows, beside the one there is: once, whoever else saw this build asks."""
        await self._redis.call("ask_rebuild", [self._keys.memory_build], [build])

    async def wanted(self) -> dict[IndexName, bool]:
        """Return the indexes: True is wanted; False goes, as soon as its documents are gone."""
        async with answering():
            found: Mapping[str, str] = await self._data.hgetall(self._keys.memory_wanted)
        return {name: dims != "0" for text, dims in found.items() if (name := IndexName.read(text))}

    async def want(self, name: IndexName, *, wanted: bool = True) -> None:
        """Wish an index; a keeper makes it within a second or two. Or wish it away."""
        async with answering():
            dims = name.dims if wanted else 0
            await self._data.hset(self._keys.memory_wanted, str(name), str(dims))

    async def forget(self, name: IndexName) -> None:
        """Forget an index that was wished away, once its documents are gone."""
        async with answering():
            await self._data.hdel(self._keys.memory_wanted, str(name))

    async def standing(self, name: IndexName) -> Standing:
        """Return how an index stands; NoIndex when it is not there."""
        found = await self._info(self._keys.memory_index(str(name)))
        failures = int(found["hash_indexing_failures"])
        return Standing(int(found["num_docs"]), failures, not int(found["indexing"]))

    async def documents(self) -> int:
        """Return how many documents the index has that is searched; NoIndex when there is none."""
        return int((await self._info(self._keys.memory_alias))["num_docs"])

    async def searched(self) -> IndexName:
        """Return the index that is searched; NoIndex when there is none."""
        full = str((await self._info(self._keys.memory_alias))["index_name"])
        if (name := IndexName.read(full.removeprefix(self._keys.memory_index("")))) is None:
            raise NoIndex
        return name

    async def _info(self, name: str) -> dict[str, Any]:
        return dict(await self._asked(self._data.ft(name).info()))

    async def switch(self, name: IndexName) -> None:
        """Let an index be the one that is searched, from one search to the next; NoIndex when it is not there."""
        to = self._keys.memory_index(str(name))
        await self._asked(self._data.execute_command("FT.ALIASUPDATE", self._keys.memory_alias, to))

    async def put(self, name: IndexName, memories: Sequence[tuple[Memory, Vector | None]]) -> list[Memory]:
        """Write documents; return the memories that are in, not those of which a newer one is there.

        Raises:
            BadInput: a vector has other dimensions than the index.
        """
        written: list[Memory] = []
        for at in range(0, len(memories), AT_ONCE):
            some = memories[at : at + AT_ONCE]
            names, args = list[str](), list[str | int | float | bytes]()
            for memory, vector in some:
                fields = document(memory, vector, name.dims)
                names += [self._document(name, memory.id), self._keys.memory_gone(memory.id)]
                args += [memory.version, len(fields), *(part for pair in fields.items() for part in pair)]
            done = await self._redis.call("index_memories", names, args)
            written += [memory for (memory, _), it in zip(some, done, strict=True) if it]
        return written

    async def remove(self, names: Iterable[IndexName], ids: Sequence[str], *, for_good: bool = True) -> int:
        """Take memories out of indexes; `for_good`: so that a writer that slept does not bring them back."""
        removed = 0
        for at in range(0, len(ids), TAKEN_AT_ONCE):
            some = ids[at : at + TAKEN_AT_ONCE]
            gone = [self._keys.memory_gone(it) for it in some] if for_good else []
            documents = [self._document(name, it) for name in names for it in some]
            args: list[str | int | float | bytes] = [len(gone), k.MEMORY_GONE_TTL_S]
            removed += int(await self._redis.call("unindex_memories", [*gone, *documents], args))
        return removed

    def _document(self, name: IndexName, memory: str) -> str:
        return f"{self._keys.memory_index(str(name))}:{memory}"

    async def find(
        self, name: IndexName, whose: Whose, *, words: Sequence[str], vector: Vector | None, limit: int
    ) -> Ranked:
        """Return up to `limit` by meaning and as many by words, in one round trip; NoIndex when it is not there."""
        searcher = await self._searcher(name)
        queries = _queries(whose, words=words, vector=vector, limit=limit)
        found = await self._asked(searcher.batch_query(list(queries.values()))) if queries else []
        by = dict(zip(queries, found, strict=True))
        return Ranked(
            [(_id(it), float(it["vector_distance"])) for it in by.get("near", ())],
            [_id(it) for it in by.get("told", ())],
        )

    async def _searcher(self, name: IndexName) -> Any:
        key = self._keys.memory_index(str(name))
        if key not in self._searchers:
            module = await load_redisvl()
            self._searchers[key] = module.AsyncSearchIndex(redisvl_schema(key, name.dims), redis_client=self._data)
        return self._searchers[key]

    async def _asked(self, command: Any) -> Any:
        async with answering("FT.SEARCH"):
            try:
                return await command
            except ResponseError as error:
                raise no_index(error) or error from None


async def load_redisvl() -> Any:
    """Import what searching needs: half a second and 21 MB, in a thread, since the loop must not stand still."""
    return await asyncio.to_thread(importlib.import_module, "redisvl.index")


def redisvl_schema(key: str, dims: int) -> Any:
    """Return the index as redisvl knows it."""
    from redisvl.schema import IndexSchema

    texts = {"no_stem": True}
    fields = [{"name": it, "type": kind, "attrs": texts if kind == "text" else {}} for it, kind in FIELDS.items()]
    vector = {"algorithm": "hnsw", "dims": dims, "distance_metric": "cosine", "datatype": "float32"}
    index = {"name": key, "prefix": f"{key}:", "key_separator": ":", "storage_type": "hash", "stopwords": []}
    return IndexSchema.from_dict(
        {"index": index, "fields": [*fields, {"name": VECTOR, "type": "vector", "attrs": vector}]}
    )


def _queries(whose: Whose, *, words: Sequence[str], vector: Vector | None, limit: int) -> dict[str, Any]:
    from redisvl.query import FilterQuery, VectorQuery
    from redisvl.query.filter import FilterExpression

    mine, queries = _filter(whose), dict[str, Any]()
    if vector is not None:
        # The person's own memories are compared one by one: exact, and faster than walking everybody's graph and
        # throwing the strangers away, as long as one person's are thousands.
        queries["near"] = VectorQuery(
            vector, VECTOR, filter_expression=mine, num_results=limit, hybrid_policy="ADHOC_BF"
        )
    if words:
        queries["told"] = FilterQuery(filter_expression=FilterExpression(_told(words, mine)), num_results=limit)
        queries["told"].scorer("BM25STD").no_content()
    for query in queries.values():
        query.timeout(SEARCH_MS)
    return queries


def _told(words: Sequence[str], mine: Any) -> str:
    """Return a query for any of these words that scores all of them, and them only.

    Of `(a|b)` beside a filter RediSearch scores the first word a document has, and each tag of the filter as if it were
    a word [tried, 2.10.5]. So the words stand there a second time, each optional, and the filter has no weight.
    """
    said = [f"@text|words:{it}" for it in words]
    return f"({' '.join('~' + it for it in said)} ({mine} ({'|'.join(said)}))=>{{$weight:0}})"


def _filter(whose: Whose) -> Any:
    from redisvl.query.filter import Tag

    if not (whose.tenant and whose.user):
        raise ValueError("redisvl takes an empty tag for no filter at all")
    mine = (Tag("tenant") == whose.tenant) & (Tag("user_id") == whose.user)
    wished = {"memory_type": whose.types, "topics": list(map(tag, whose.topics)), "trust": whose.trusts}
    for name, values in wished.items():
        if values:
            mine = mine & (Tag(name) == list(values))
    return mine


def _id(found: Mapping[str, Any]) -> str:
    return str(found["id"]).rsplit(":", 1)[1]
