"""An agent that alone does not hear Redis sends its readers to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from agent_image.runner.neighbours import Neighbours
from appliance.core.records import Agent, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from tests.client import Client
from tests.cluster import Cluster
from tests.faults.proxy import Proxy
from tests.stores import Stores
from tests.waiting import wait_until


@pytest.fixture
async def wire(cluster: Cluster) -> AsyncIterator[Proxy]:
    """The way to Redis of one more agent, agent-cut."""
    async with Proxy(cluster.stores.urls["redis_url"]) as proxy:
        cluster.start_agent("agent-cut", REDIS_URL=proxy.url)
        yield proxy
        await proxy.pass_on()
        await cluster.dismiss("agent-cut")


async def test_who_was_not_serving_at_the_last_look_is_asked_as_well(stores: Stores) -> None:
    """Cut off in the second in which the other one starts, an agent would wait for Redis with all its readers."""
    config = await stores.with_own_database(redis_key_prefix="tcut:", cluster_agent_id="agent-1")
    redis = Redis(config)
    registry = Registry(redis)
    await registry.initialise(new_generation(), 1)
    for number, status in ((1, Status.ACTIVE), (2, Status.STARTING)):
        await registry.beat(Agent(id=f"agent-{number}", boot=f"boot-{number}", status=status))
    neighbours = Neighbours(registry, config)
    looking = asyncio.create_task(neighbours.run())

    async def named() -> list[str]:
        return [agent.id for agent in neighbours.named()]

    assert await wait_until(named, of="a look") == ["agent-2"]
    assert not neighbours.others_serve()
    looking.cancel()
    await asyncio.wait({looking})
    await redis.aclose()


async def test_a_tab_on_an_agent_that_is_cut_off_from_redis_goes_to_another(cluster: Cluster, wire: Proxy) -> None:
    async def serves() -> bool:
        agent = (await cluster.view()).agent("agent-cut")
        return agent is not None and agent.status == "active" and agent.boot_alive

    await wait_until(serves, of="the agent behind its proxy")
    agent = await cluster.agent("agent-cut")
    _, token = await cluster.sign_in()
    person = Client(f"http://{agent.host}:{agent.port}", token)
    conversation = await person.create()
    async with aclosing(person.events(conversation)) as feed:
        await anext(feed)
        await wire.drop()
        kinds = [event["type"] async for event in feed]
    assert kinds[-1] == "moving"
    path = f"/api/v1/conversations/{conversation}/events"
    assert (await person.http.get(path)).status_code == 503
    await wire.pass_on()

    async def takes_readers_again() -> bool:
        async with person.http.stream("GET", path) as answer:
            return answer.status_code == 200

    await wait_until(takes_readers_again, of="a reader that is served again")
    await person.aclose()
