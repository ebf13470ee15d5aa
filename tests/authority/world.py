"""The stores as one example of the state machine sees them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

import psycopg

from appliance.core.election import Election
from appliance.core.errors import NoGeneration
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.core.task_ledger import TaskLedger

T = TypeVar("T")
EMPTY = (
    "truncate tasks, messages, steps, conversations, boots, failovers, refusals cascade;"
    "update cluster_epoch set epoch = 0, primary_id = null, boot = null, elected_at = null, evidence = null"
)


class World:
    """The stores as one example sees them, and a loop of its own to speak to them."""

    def __init__(self, runner: asyncio.Runner, config: Settings) -> None:
        self.do: Callable[[Any], Any] = runner.run
        self.config = config.model_copy(update={"redis_key_prefix": f"t{uuid4().hex[:6]}:"})
        self.redis, self.postgres = Redis(self.config), Postgres(config, application="machine")
        self.registry, self.election = Registry(self.redis), Election(self.redis, self.postgres)
        self.ledger = TaskLedger(self.postgres, turn_timeout_s=60, max_queued=1000)

    async def open(self) -> User:
        await self.postgres.open()
        options = connection_options(self.config, "machine")
        self.side = await psycopg.AsyncConnection.connect(self.config.postgres_url, **options)
        await self.sql(EMPTY)
        row = await self.postgres.row("ensure_user", tenant="default", name="ada", role="operator")
        assert row is not None
        return User(id=str(row["id"]), name="ada")

    async def sql(self, statement: str) -> list[dict[str, Any]]:
        cursor = await self.side.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []

    async def flush(self) -> None:
        keys = [key async for key in self.redis.data.scan_iter(self.redis.keys.prefix + "*")]
        if keys:
            await self.redis.data.delete(*keys)

    async def fall_back(self) -> None:
        """Let Redis be an older copy of itself: its epoch is one lower."""
        key = self.redis.keys.epoch
        if (cached := int(await self.redis.data.get(key) or 0)) > 0:
            await self.redis.data.set(key, cached - 1)

    async def aclose(self) -> None:
        await self.flush()
        await self.side.close()
        await self.postgres.aclose()
        await self.redis.aclose()


async def heedless(step: Awaitable[T]) -> T | None:
    """Make a step; None when Redis holds no data at the moment."""
    with suppress(NoGeneration):
        return await step
    return None
