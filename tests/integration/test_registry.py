"""The registry on a real Redis (PROTOCOLS 6.1)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from appliance.core.records import Agent, Role, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from tests.stores import Stores
from tests.waiting import wait_until


@pytest.fixture
async def redis(stores: Stores) -> AsyncIterator[Redis]:
    connected = Redis(stores.settings(redis_key_prefix=f"t{uuid4().hex[:6]}:"))
    yield connected
    await connected.aclose()


@pytest.fixture
async def registry(redis: Redis) -> Registry:
    made = Registry(redis)
    await made.initialise(new_generation(), 7)
    return made


def an_agent(agent_id: str = "agent-1", **more: object) -> Agent:
    facts = {"status": Status.ACTIVE, "host": "127.0.0.1", "port": 81, "models": ("m",), "boot": f"boot-{agent_id}"}
    return Agent(id=agent_id, **(facts | more))  # type: ignore[arg-type]


async def test_an_agent_that_beats_is_seen_alive_with_all_it_said(registry: Registry) -> None:
    said = an_agent(role=Role.STANDBY, current_load=3, max_load=20, loop_lag_ms=1.5, capabilities=("gpu", "web"))
    await registry.beat(said)
    view = await registry.view()
    [seen] = view.agents
    assert (seen.role, seen.status, seen.models, seen.current_load) == (Role.STANDBY, Status.ACTIVE, ("m",), 3)
    assert seen.capabilities == ("gpu", "web")
    assert seen.boot_alive
    assert seen.beat_age_s < 1
    assert view.epoch == 7


async def test_agents_are_listed_by_number(registry: Registry) -> None:
    for number in (10, 2, 1):
        await registry.beat(an_agent(f"agent-{number}"))
    assert [agent.id for agent in (await registry.view()).agents] == ["agent-1", "agent-2", "agent-10"]


async def test_an_agent_that_leaves_is_no_longer_alive_but_still_shown(registry: Registry) -> None:
    await registry.beat(an_agent())
    await registry.leave("agent-1", "boot-agent-1", on_purpose=False)
    [seen] = (await registry.view()).agents
    assert (seen.boot_alive, seen.status) == (False, Status.FAILED)


async def test_a_late_leave_of_an_old_boot_does_not_touch_the_new_one(registry: Registry) -> None:
    await registry.beat(an_agent(boot="new"))
    await registry.leave("agent-1", "old", on_purpose=True)
    [seen] = (await registry.view()).agents
    assert (seen.boot_alive, seen.status) == (True, Status.ACTIVE)


async def test_a_beat_into_an_empty_redis_registers_nobody(redis: Redis, registry: Registry) -> None:
    await redis.data.delete(redis.keys.generation)
    beat = await registry.beat(an_agent())
    assert beat.generation is None
    assert (await registry.view()).agents == ()


async def test_the_first_to_initialise_wins_and_the_epoch_only_rises(redis: Redis, registry: Registry) -> None:
    view = await registry.view()
    assert await registry.initialise("another", 3) == view.generation
    assert (await registry.view()).epoch == 7


async def test_two_observers_of_one_ended_connection_are_counted(registry: Registry) -> None:
    await registry.beat(an_agent())
    votes = [await registry.suspect("agent-1", "boot-agent-1", voter=v, window_ms=1500) for v in ("a", "a", "b")]
    assert [voters for voters, _ in votes] == [1, 1, 2]
    assert all(silent is not None and silent < 1 for _, silent in votes)


async def test_an_observer_that_hears_the_boot_again_is_not_counted(registry: Registry) -> None:
    await registry.beat(an_agent())
    await registry.suspect("agent-1", "boot-agent-1", voter="a", window_ms=1500)
    await registry.withdraw_suspicion("boot-agent-1", voter="a")
    assert (await registry.suspect("agent-1", "boot-agent-1", voter="b", window_ms=1500))[0] == 1


async def test_a_suspicion_of_a_replaced_boot_says_so(registry: Registry) -> None:
    await registry.beat(an_agent(boot="new"))
    assert (await registry.suspect("agent-1", "old", voter="a", window_ms=1500))[1] is None


async def test_a_record_that_expired_is_passed_over_by_readers_and_forgotten_by_the_next_beats(
    redis: Redis, registry: Registry
) -> None:
    for agent_id in ("agent-1", "agent-2"):
        await registry.beat(an_agent(agent_id))
    await redis.data.delete(redis.keys.agent("agent-2"))
    assert [agent.id for agent in (await registry.view()).agents] == ["agent-1"]

    async def forgotten() -> bool:
        await registry.beat(an_agent("agent-1"))
        return await redis.data.smembers(redis.keys.agents) == {"agent-1"}

    await wait_until(forgotten, of="an id without a record that is forgotten")


async def test_who_left_on_purpose_is_of_no_term_any_more(registry: Registry) -> None:
    for agent, on_purpose in (("agent-1", True), ("agent-2", False)):
        await registry.beat(an_agent(agent, config_epoch=7))
        await registry.leave(agent, f"boot-{agent}", on_purpose=on_purpose)
        await registry.leave(agent, f"boot-{agent}", on_purpose=False)  # somebody else noticed the silence
    found = [(agent.config_epoch, agent.status) for agent in (await registry.view()).agents]
    assert found == [(0, Status.DRAINING), (7, Status.FAILED)]
