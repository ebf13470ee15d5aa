"""People with memories on a real PostgreSQL, and vectors that are near when one says so."""

import math
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg

from appliance.core.memory.items import Closing, Item, Keeping, Memory, Origin
from appliance.core.memory.store import Kept, MemoryStore, Promoted
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import User
from appliance.core.settings import Settings

MODEL = "angles"
TYPED = Origin("command")


def at(degrees: float) -> bytes:
    """A vector of two dimensions; the cosine distance of two is 1 - cos of the angle between them."""
    return array("f", (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))).tobytes()


def said(text: str, angle: float = 0.0, *, origin: Origin = TYPED, **more: Any) -> Keeping:
    """A decision to keep a text."""
    return Keeping(item=Item(text=text, origin=origin), vector=at(angle), model=MODEL, **more)


class Rememberer:
    """Two people and the store."""

    def __init__(self, config: Settings, postgres: Postgres) -> None:
        self.config, self.postgres = config, postgres
        self.store = MemoryStore(postgres)
        self.ada = self.bob = User(id="", name="")

    async def open(self) -> "Rememberer":
        self.ada, self.bob = await self.person("ada"), await self.person("bob")
        return self

    async def person(self, name: str) -> User:
        name = f"{name}-{uuid4()}"
        row = await self.postgres.row("ensure_user", tenant="default", name=name, role="operator")
        assert row is not None
        return User(id=str(row["id"]), name=name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
        """Hold what is done until the end."""
        options = connection_options(self.config, "test") | {"options": ""}
        opened = await psycopg.AsyncConnection.connect(self.config.postgres_url, **options)
        async with opened, opened.transaction():
            yield opened

    async def sql(self, text: str, *values: object) -> list[dict[str, Any]]:
        """Do what no statement of the product does."""
        options = connection_options(self.config, "test")
        async with await psycopg.AsyncConnection.connect(self.config.postgres_url, **options) as connection:
            cursor = await connection.execute(text.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def settle(self, *decided: Keeping, user: User | None = None, promotion: Promoted | None = None) -> Kept:
        """Keep what is decided, as the only one who writes."""
        user = user or self.ada
        kept = await self.store.keep(user, await self.store.seen(user), decided, promotion=promotion)
        assert kept is not None
        return kept

    async def keep(
        self, text: str, angle: float = 0.0, *closes: Closing, user: User | None = None, origin: Origin = TYPED
    ) -> Memory:
        """Keep one memory and return it."""
        user = user or self.ada
        item = Item(text=text, origin=origin)
        kept = await self.settle(Keeping(item=item, vector=at(angle), model=MODEL, closes=closes), user=user)
        assert kept.settled[0].id
        return await self.store.get(user, kept.settled[0].id)

    async def talk(self, *texts: str, user: User | None = None) -> tuple[str, list[str]]:
        """A conversation with answered turns; returns its id and those of the messages."""
        user, conversation = user or self.ada, str(uuid4())
        await self.postgres.rows(
            "create_conversation", tenant="default", user=user.id, conversation=conversation, title="", trace=""
        )
        return conversation, [await self.turn(user, conversation, no, text) for no, text in enumerate(texts, 1)]

    async def turn(self, user: User, conversation: str, no: int, text: str) -> str:
        """One turn that was answered."""
        task, message = str(uuid4()), str(uuid4())
        await self.sql(
            "insert into tasks(id, tenant_id, user_id, conversation_id, kind, state, turn_no, idem_key)"
            " values (%s, 'default', %s, %s, 'conversation', 'queued', %s, %s)", task, user.id, conversation, no, task
        )  # fmt: skip
        await self.sql(
            "insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text)"
            " values (%s, 'default', %s, %s, %s, %s, 'user', %s)", message, user.id, conversation, task, no, text
        )  # fmt: skip
        await self.sql("update tasks set state = 'done' where id = %s", task)
        return message
