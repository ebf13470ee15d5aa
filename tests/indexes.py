"""The index of memories on real stores, with an embedder whose meanings a test can tell."""

import asyncio
import math
from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from agent_image.runner.memory.indexing import LOOK_S, Indexing
from appliance.core.acl import RedisUser
from appliance.core.clock import monotonic
from appliance.core.errors import EmbedderAway, EmbedderRefused
from appliance.core.memory.index import MemoryIndex, Whose
from appliance.core.memory.indexed import IndexedRows
from appliance.core.memory.items import Item, Keeping, Memory
from appliance.core.memory.schema import IndexName
from appliance.core.memory.search import MemorySearch
from appliance.core.memory.upkeep import IndexUpkeep
from appliance.core.memory.words import words
from appliance.core.postgres import Postgres
from appliance.core.records import User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from tests.memories import TYPED, Rememberer
from tests.stores import Stores
from tests.waiting import PATIENCE_S

MEANINGS = {
    "coffee": 0, "espresso": 0, "kaffee": 0, "咖啡": 0, "кофе": 0, "tea": 1, "dog": 2, "hund": 2, "puppy": 2,
    "berlin": 3, "python": 4, "rust": 5,
}  # fmt: skip

SAYINGS = ("I drink espresso", "My dog is called Rex", "I live in Berlin", "I write python")


class Meaning:
    """An embedder that knows a few words; texts of the same words mean the same."""

    def __init__(self, model: str = "meaning", dims: int = 8) -> None:
        self.model, self.dims = model, dims
        self.away = self.refuses = False
        self.asked, self.answers = 0, math.inf

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:
        self.asked += 1
        if self.refuses:
            raise EmbedderRefused
        if self.away or self.asked > self.answers:
            raise EmbedderAway
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> bytes:
        numbers = [0.01 * (n + 1) for n in range(self.dims)]  # a text of no known word means a little of everything
        for word in words(text):
            if word in MEANINGS:
                numbers[MEANINGS[word] % self.dims] += 1.0
        length = math.hypot(*numbers)
        return array("f", [it / length for it in numbers]).tobytes()


class Library:
    """People's memories, their index, and who keeps and searches it; each program as its own user of Redis."""

    def __init__(self, stores: Stores, config: Settings, postgres: Postgres, people: Rememberer) -> None:
        self.people, self.postgres = people, postgres
        self._stores, self._config = stores, config
        self.prefix = f"t{uuid4().hex[:6]}:"
        self.redis, self.keeper, self.admin = self.as_user("runner"), self.as_user("keeper"), self.as_user("admin")
        self.meaning = Meaning()
        self.index, self.rows = MemoryIndex(self.redis), IndexedRows(postgres)
        self.upkeep = IndexUpkeep(self.keeper)
        self.indexing = self.keeps(self.meaning)
        self.search = self.searches(self.meaning)

    async def open(self) -> "Library":
        await self.keeper.load_library()
        await self.begin()
        return self

    async def begin(self) -> None:
        """A new life of Redis begins."""
        await Registry(self.keeper).initialise(uuid4().hex, 1)

    async def aclose(self) -> None:
        names = [it async for it in self.admin.data.scan_iter(f"{self.prefix}*", 1000)]
        await self.admin.data.delete("none", *names)
        await self.redis.data.delete(self.redis.keys.memory_wanted)
        await self.upkeep.once()
        for redis in (self.redis, self.keeper, self.admin):
            await redis.aclose()

    def keeps(self, meaning: Meaning, *, leads: bool = True) -> Indexing:
        return Indexing(self.index, self.rows, meaning, lambda: leads)

    def searches(self, meaning: Meaning, others: dict[str, Meaning] | None = None) -> MemorySearch:
        return MemorySearch(self.index, self.postgres, meaning, others.__getitem__ if others else None)

    def as_user(self, user: RedisUser) -> Redis:
        """Redis as another program sees it."""
        return Redis(self._stores.settings(user, redis_key_prefix=self.prefix))

    def settings(self, user: RedisUser) -> Settings:
        """Settings of another program."""
        return self._stores.settings(user, redis_key_prefix=self.prefix, postgres_url=self._config.postgres_url)

    async def lead(self, over: asyncio.Event) -> None:
        """Be the primary, its runner and its keeper, until it is over."""
        while not over.is_set():
            await self.settle()
            await asyncio.sleep(0.05)

    async def say(self, *texts: str, user: User | None = None) -> list[Memory]:
        """Keep memories, as yet in rows only and without vectors."""
        return [await self._kept(Item(text=text, origin=TYPED), user) for text in texts]

    async def keep(self, text: str, user: User | None = None, **more: Any) -> Memory:
        """Keep one that is more than its text."""
        return await self._kept(Item(text=text, origin=TYPED, **more), user)

    async def _kept(self, item: Item, user: User | None) -> Memory:
        kept = await self.people.settle(Keeping(item=item), user=user)
        assert kept.settled[0].id
        return await self.people.store.get(user or self.people.ada, kept.settled[0].id)

    async def settle(
        self, indexing: Indexing | None = None, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Index until there is nothing to do; `meanwhile` is waited for after each step."""
        until = monotonic() + PATIENCE_S  # of Redis' own time: it reads all keys there are before an index is ready
        while monotonic() < until:
            waits_s = await (indexing or self.indexing).once()
            if meanwhile:
                await meanwhile()
            if not await self.upkeep.once() and waits_s == LOOK_S:
                return
        raise AssertionError("the index never comes to rest")

    async def found(self, query: str, *, user: User | None = None, **more: Any) -> list[str]:
        """Texts that a search finds, the best first."""
        return [it.memory.text for it in (await self.search.search(user or self.people.ada, query, **more)).hits]

    async def lose_index(self) -> None:
        """Drop it behind everybody's back; its documents stay."""
        data: Any = self.admin.data
        await data.execute_command("FT.DROPINDEX", self.redis.keys.memory_index(str(self.name())))

    async def documents(self) -> int:
        return (await self.index.standing(await self.index.searched())).documents

    def name(self, model: str = "meaning", dims: int = 8, build: int = 0) -> IndexName:
        return IndexName(model, dims, build)

    def whose(self, user: User | None = None) -> Whose:
        user = user or self.people.ada
        return Whose(user.tenant_id, user.id)
