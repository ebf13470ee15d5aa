"""Four ways to search one corpus: Nexus, redisvl by itself, pgvector exactly and with its graph."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
import redis.asyncio as aioredis
from redisvl.index import AsyncSearchIndex
from redisvl.query import FilterQuery, VectorQuery
from redisvl.query.filter import FilterExpression, Tag

from appliance.core.memory.index import MemoryIndex, Whose, redisvl_schema
from appliance.core.memory.items import Memory, Origin, fingerprint
from appliance.core.memory.schema import IndexName
from appliance.core.memory.search import MemorySearch
from appliance.core.memory.upkeep import IndexUpkeep
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.vectors import to_text
from tests.bench.vectors.corpus import DIMS, Corpus, K, Question
from tests.stores import Stores

NAME = IndexName("synthetic", DIMS)
BATCH = 500


class Side(Protocol):
    """One way to search."""

    name: str

    async def ask(self, question: Question) -> Any:
        """Ask; only this is measured."""

    async def nearest(self, question: Question, found: Any) -> list[str]:
        """Return the ids it holds to be nearest by vector."""


class Given:
    """An embedder that is told each question's vector beforehand."""

    model = NAME.model

    def __init__(self) -> None:
        self.vector = b""

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        return [self.vector]


class Nexus:
    """Vectors and words in one round trip, fused, and the rows read by primary key."""

    name = "nexus"

    def __init__(self, redis: Redis, postgres: Postgres, people: list[User]) -> None:
        self._given, self._people = Given(), people
        self._index = MemoryIndex(redis)
        self._search = MemorySearch(self._index, postgres, self._given)

    async def ask(self, question: Question) -> Any:
        self._given.vector = question.vector.tobytes()
        return await self._search.search(self._people[question.person], question.text, limit=K)

    async def nearest(self, question: Question, found: Any) -> list[str]:
        """Of what it fuses: a search by words moves others to the front on purpose."""
        person, vector = self._people[question.person], question.vector.tobytes()
        whose = Whose(person.tenant_id, person.id)
        ranked = await self._index.find(NAME, whose, words=[], vector=vector, limit=K)
        return [id_ for id_, _ in ranked.near]


class Raw:
    """redisvl as its documentation shows it, on a connection of its own."""

    def __init__(self, client: Any, key: str, people: list[User], *, words: bool) -> None:
        self.name = "redisvl, vector and words" if words else "redisvl, vector alone"
        self._index = AsyncSearchIndex(redisvl_schema(key, DIMS), redis_client=client)
        self._people, self._words = people, words

    async def ask(self, question: Question) -> Any:
        person = self._people[question.person]
        mine = (Tag("tenant") == person.tenant_id) & (Tag("user_id") == person.id)
        near = VectorQuery(
            question.vector.tobytes(), "embedding", return_fields=["text"], filter_expression=mine, num_results=K
        )
        if not self._words:
            return await self._index.query(near)
        said = FilterExpression(f"@text:({question.text.replace(' ', '|')})")
        told = FilterQuery(filter_expression=mine & said, return_fields=["text"], num_results=K)
        return (await self._index.batch_query([near, told.scorer("BM25STD")]))[0]

    async def nearest(self, question: Question, found: Any) -> list[str]:
        return [it["id"].rsplit(":", 1)[1] for it in found]


class PgVector:
    """One statement on one prepared connection."""

    def __init__(self, name: str, connection: Any, people: list[User], table: str) -> None:
        self.name = name
        self._connection, self._people = connection, people
        self._statement = f"select id from {table} where user_id = %s order by embedding <=> %s::vector limit {K}"

    async def ask(self, question: Question) -> Any:
        values = (self._people[question.person].id, to_text(question.vector.tobytes()))
        return await (await self._connection.execute(self._statement, values)).fetchall()

    async def nearest(self, question: Question, found: Any) -> list[str]:
        return [str(it["id"]) for it in found]


@asynccontextmanager
async def opened(corpus: Corpus) -> AsyncIterator[tuple[list[Side], dict[str, Any]]]:
    """Fill stores of their own and yield the sides with what filling took."""
    stores = Stores()
    try:
        await stores.start()
        config = await stores.with_own_database(redis_key_prefix="t1:")
        redis, postgres = Redis(config), Postgres(config, application="bench")
        await postgres.open()
        async with await psycopg.AsyncConnection.connect(
            config.postgres_url, **(connection_options(config, "bench") | {"options": ""})
        ) as connection:
            filled: dict[str, Any] = {}
            people = await _people(postgres, corpus)
            await _rows(connection, corpus, people, filled)
            await _documents(redis, corpus, people, filled)
            client = aioredis.Redis.from_url(
                config.redis_url, username=config.redis_user, password=config.redis_password.get_secret_value()
            )
            yield await _sides(redis, postgres, client, connection, people), filled
            await client.aclose()
        await postgres.aclose()
        await redis.aclose()
    finally:
        await asyncio.to_thread(stores.close)


async def _sides(redis: Redis, postgres: Postgres, client: Any, connection: Any, people: list[User]) -> list[Side]:
    key = redis.keys.memory_index(str(NAME))
    return [
        Raw(client, key, people, words=False), Nexus(redis, postgres, people), Raw(client, key, people, words=True),
        PgVector("pgvector, exact", connection, people, "bench_exact"),
        PgVector("pgvector, HNSW, iterative scan", connection, people, "bench_graph"),
    ]  # fmt: skip


async def _people(postgres: Postgres, corpus: Corpus) -> list[User]:
    rows = [
        await postgres.row("ensure_user", tenant="default", name=f"p{n}", role="operator") for n in range(corpus.people)
    ]
    return [User(id=str(row["id"]), name=f"p{n}") for n, row in enumerate(rows) if row]


async def _rows(connection: Any, corpus: Corpus, people: list[User], filled: dict[str, Any]) -> None:
    """Rows as the product has them, and two plain tables for pgvector."""
    columns = "id, no, tenant_id, user_id, type, text, hash, confidence, trust, source, version"
    async with connection.cursor() as cursor:
        async with cursor.copy(f"copy memories({columns}) from stdin") as copy:
            for n, (id_, text) in enumerate(zip(corpus.ids, corpus.texts, strict=True)):
                person, hash_ = people[n // corpus.each].id, fingerprint(f"{n} {text}")
                row = (id_, n % corpus.each + 1, "default", person, "fact", text, hash_, 1.0, "user", "command", 1)
                await copy.write_row(row)
        for table in ("bench_exact", "bench_graph"):
            await cursor.execute(f"create table {table}(id uuid primary key, user_id uuid, embedding vector({DIMS}))")
            async with cursor.copy(f"copy {table} from stdin") as copy:
                for n, blob in enumerate(corpus.blobs):
                    await copy.write_row((corpus.ids[n], people[n // corpus.each].id, to_text(blob)))
        began = time.perf_counter()
        await cursor.execute("create index on bench_exact(user_id)")
        await cursor.execute("set maintenance_work_mem = '1GB'")
        await cursor.execute("create index on bench_graph using hnsw (embedding vector_cosine_ops)")
        filled["pgvector: seconds to build the graph"] = round(time.perf_counter() - began, 1)
        await cursor.execute("set hnsw.iterative_scan = strict_order")
        await cursor.execute("analyze")
        size = await (await cursor.execute("select pg_total_relation_size('bench_graph') as size")).fetchone()
        filled["pgvector: bytes an item, with its graph"] = round(size["size"] / len(corpus.ids))


async def _documents(redis: Redis, corpus: Corpus, people: list[User], filled: dict[str, Any]) -> None:
    await redis.load_library()
    await Registry(redis).initialise("bench", 1)
    index, data = MemoryIndex(redis), redis.data
    await index.want(NAME)
    await IndexUpkeep(redis).once()
    before, began = (await data.info("memory"))["used_memory"], time.perf_counter()
    for at in range(0, len(corpus.ids), BATCH):
        some = range(at, min(at + BATCH, len(corpus.ids)))
        await index.put(NAME, [(_memory(corpus, people, n), corpus.blobs[n]) for n in some])
    took = time.perf_counter() - began
    await index.switch(NAME)
    used = (await data.info("memory"))["used_memory"] - before
    filled["redis: documents a second"] = round(len(corpus.ids) / took)
    filled["redis: bytes an item, with its graph"] = round(used / len(corpus.ids))
    filled |= await _as_json(redis, corpus)


async def _as_json(redis: Redis, corpus: Corpus) -> dict[str, int]:
    """The vector alone, as hashes hold it and as JSON would: the decision for hashes."""
    data: Any = redis.data
    key = redis.keys.memory_index(f"{NAME}:{corpus.ids[0]}")
    await data.json().set("t1:json", "$", {"embedding": [float(it) for it in corpus.vectors[0]]})
    found = {
        "redis: bytes of a whole document as a hash": int(await data.memory_usage(key, samples=0)),
        "redis: bytes of the vector alone as JSON": int(await data.execute_command("JSON.DEBUG", "MEMORY", "t1:json")),
    }
    await data.delete("t1:json")
    return found


def _memory(corpus: Corpus, people: list[User], n: int) -> Memory:
    person, now = people[n // corpus.each], datetime.now(UTC)
    return Memory(
        id=corpus.ids[n], no=n % corpus.each + 1, user_id=person.id, tenant_id=person.tenant_id, type="fact",
        text=corpus.texts[n], topics=(), confidence=1.0, trust="user", origin=Origin("command"), pinned=False,
        valid_from=now, valid_to=None, superseded_by=None, superseded_how="", sources=1, version=1, created_at=now,
    )  # fmt: skip
