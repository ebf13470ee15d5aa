"""Agents that were removed from the fleet leave the registry, once they are dead and buried (keeper/tidy)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from agent_image.keeper.parts import Parts
from agent_image.keeper.tidy import Tidy
from appliance.core.desired_fleet import DesiredFleet
from appliance.core.postgres import Postgres
from appliance.core.records import Agent
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from tests.stores import Stores


@dataclass
class World:
    redis: Redis
    postgres: Postgres
    registry: Registry

    @property
    def tidy(self) -> Tidy:
        parts: Any = SimpleNamespace(postgres=self.postgres, registry=self.registry, seat=SimpleNamespace(held=True))
        return Tidy(cast(Parts, parts))

    async def join(self, name: str) -> str:
        boot = str(uuid4())
        await self.postgres.rows("register_boot", boot=boot, agent=name)
        await self.registry.beat(Agent(name, boot=boot))
        return boot

    async def names(self) -> list[str]:
        return [agent.id for agent in (await self.registry.view()).agents]


@pytest.fixture
async def world(stores: Stores) -> AsyncIterator[World]:
    config = await stores.with_own_database(redis_key_prefix=f"ttidy{uuid4().hex[:6]}:")
    redis, postgres = Redis(config), Postgres(config, application="test")
    await postgres.open()
    await Registry(redis).initialise(new_generation(), 1)
    yield World(redis, postgres, Registry(redis))
    await postgres.aclose()
    await redis.aclose()


async def test_who_lives_stays_who_is_silent_waits_for_burial_and_is_then_forgotten(world: World) -> None:
    await DesiredFleet(world.postgres).up(1, by="test")
    boots = {name: await world.join(name) for name in ("agent-1", "agent-2", "visitor")}
    everybody = await world.names()
    await world.tidy.once()
    assert await world.names() == everybody
    assert not await world.registry.forget("agent-2")
    for name, boot in boots.items():
        await world.registry.leave(name, boot, on_purpose=True)
    await world.tidy.once()
    assert await world.names() == everybody
    for boot in boots.values():
        await world.postgres.rows("bury_boot", boot=boot, reason="stopped")
    await world.tidy.once()
    assert await world.names() == ["agent-1", "visitor"]


async def test_where_no_number_was_ever_wished_for_nobody_is_forgotten(world: World) -> None:
    boot = await world.join("agent-2")
    await world.registry.leave("agent-2", boot, on_purpose=True)
    await world.postgres.rows("bury_boot", boot=boot, reason="stopped")
    await world.tidy.once()
    assert await world.names() == ["agent-2"]
