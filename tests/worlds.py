"""A control plane's inside on real stores: operations and their loop, with a fleet in memory that beats and obeys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg

from appliance.core.desired_fleet import DesiredFleet
from appliance.core.orders import AutomaticFailover, Orders
from appliance.core.postgres import Postgres, connection_options
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.requests import Requests
from appliance.core.settings import Settings
from control_plane.fleet import MemberState
from control_plane.operations import Operations, Rows
from control_plane.reconcile import Reconciler
from tests.fakes.fleet import MemoryFleet
from tests.stores import Stores
from tests.waiting import wait_until


def ada(key: UUID | None = None) -> dict[str, Any]:
    """Who asks, and the request's own key."""
    return {"by": "ada", "key": key or uuid4()}


class World:
    """A control plane's inside: operations, loop and a fleet."""

    def __init__(self, config: Settings, redis: Redis, postgres: Postgres, agents: int) -> None:
        self.config = config
        self.desired, self.orders, self.registry = DesiredFleet(postgres), Orders(redis, postgres), Registry(redis)
        self.fleet = MemoryFleet(redis, postgres, *range(1, agents + 1))
        self.rows = Rows(self.desired, self.orders, AutomaticFailover(postgres), Requests(postgres))
        self.start_over()

    def start_over(self) -> None:
        """Begin with nothing remembered, as a control plane that was started anew."""
        self.loop = Reconciler(self.fleet, self.desired, self.orders, self.registry)
        self.do = Operations(self.config, self.rows, self.registry, self.fleet, self.loop)

    @asynccontextmanager
    async def reconciling(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def settled(self, *slots: int) -> None:
        """Wait until exactly these members run and nothing is to be done."""

        async def reached() -> bool:
            running = {slot for slot, state in self.fleet.states.items() if state is MemberState.RUNNING}
            return running == set(slots) and (await self.do.state()).settled

        await wait_until(reached, of=f"agents {slots}")

    async def audited(self) -> list[tuple[str, str, str]]:
        rows = await self.sql("select actor, action, subject from audit_log order by id")
        return [(row["actor"], row["action"], row["subject"]) for row in rows]

    async def unmet(self) -> list[str]:
        """What was asked for and not done, from the audit log."""
        rows = await self.sql(
            "select subject from audit_log where action like '%: refused' or detail ->> 'outcome' like 'failed: %'"
        )
        return [row["subject"] for row in rows]

    async def sql(self, statement: str) -> list[dict[str, Any]]:
        options = connection_options(self.config, "test")
        async with await psycopg.AsyncConnection.connect(self.config.postgres_url, **options) as connection:
            return await (await connection.execute(statement.encode())).fetchall()


@asynccontextmanager
async def a_world(stores: Stores, agents: int = 3, **settings: object) -> AsyncIterator[World]:
    config = await stores.with_own_database(redis_key_prefix=f"tops{uuid4().hex[:6]}:", **settings)
    redis, postgres = Redis(config), Postgres(config, application="test")
    await postgres.open()
    try:
        world = World(config, redis, postgres, agents)
        await world.desired.up(agents, by="nexus up")
        async with world.fleet.alive():
            yield world
    finally:
        await postgres.aclose()
        await redis.aclose()
