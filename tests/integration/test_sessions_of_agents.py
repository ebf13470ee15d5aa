"""Two agents, one conversation: whoever has a turn tells the model the same, with Redis and without what it held."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from appliance.core.working_memory import Session, read_session
from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import wait_until

TURNS = 6
SLOW = "And Passau? [[tokens=80 delay=50ms]]"


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider) -> AsyncIterator[Runners]:
    async with running_runners(stores, provider, 2, MODEL_CONTEXT_TOKENS="4000", CLUSTER_SUMMARY_AT="0.3") as running:
        await running.promote("agent-2")
        yield running


@pytest.fixture
async def agents(two: Runners) -> AsyncIterator[dict[str, Client]]:
    """A person at each agent, past the gateway."""
    _, token = await two.sign_in()
    people = {agent_id: Client(await two.direct(agent_id), token) for agent_id in ("agent-1", "agent-2")}
    yield people
    for person in people.values():
        await person.aclose()


async def said(person: Client, conversation: str, text: str) -> list[dict[str, Any]]:
    accepted = await person.send(conversation, text)
    return await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])


async def sources(person: Client) -> dict[str, float]:
    """Where this agent's turns read what was said before."""
    async with httpx2.AsyncClient(base_url=person.http.base_url) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    named = [line for line in lines if line.startswith("nexus_session_sources_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in named}


async def lose_everything(cluster: Runners) -> None:
    """What FLUSHALL does to this cluster: others share the Redis of these tests."""
    async for key in cluster.redis.data.scan_iter(match=f"{cluster.prefix}*"):
        await cluster.redis.data.delete(key)


@pytest.mark.parametrize("words", [3, 120])
async def test_the_agent_that_takes_a_turn_over_tells_the_model_the_same_after_redis_lost_everything(
    two: Runners, agents: dict[str, Client], provider: FakeProvider, words: int
) -> None:
    person, other = agents.values()
    conversation = await person.create()
    for number in range(TURNS):
        await said(person, conversation, f"{number}. {'river ' * words}of Ulm? [[tokens={words}]]")

    async def settled() -> bool:
        session = await read_session(two.redis, conversation)
        return bool(session and session.answered_turn == TURNS and (words == 3 or session.summary.upto_turn))

    await wait_until(settled, of="a session with all answers, and with a summary where it is long")
    before = await sources(person), await sources(other)
    accepted = await person.send(conversation, SLOW)
    calls: list[dict[str, Any]] = []

    async def asked(times: int) -> bool:
        calls[:] = [call for call in await provider.calls(SLOW) if call["idem_key"].startswith(accepted["turn"])]
        return len(calls) == times

    await wait_until(lambda: asked(1), of="the first agent's call")
    assert (await sources(person))["redis"] == before[0]["redis"] + 1
    await two.kill("agent-1", signal.SIGKILL)
    await lose_everything(two)
    await wait_until(lambda: asked(2), of="the second agent's call")
    assert (await sources(other))["rows"] == before[1]["rows"] + 1
    hot, cold = calls
    assert hot["prompt"] == cold["prompt"]
    assert hot["prompt"][0].startswith("system: " if words > 3 else "user: 0. river")
    await two.restart("agent-1")


async def test_any_agent_reads_how_sub_agents_of_another_one_stand(two: Runners, agents: dict[str, Client]) -> None:
    person = agents["agent-2"]
    conversation = await person.create()
    plan = "/multi Go\n- facts = researcher: Look [[tokens=20 delay=50ms]]\n- critic = reviewer (after facts): Judge"
    accepted = await person.send(conversation, plan)
    following = asyncio.create_task(follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"]))

    async def under_way() -> Session | None:
        session = await read_session(two.redis, conversation)
        stand = {name: it.status for name, it in session.sub_agents.items()} if session else {}
        return session if stand == {"facts": "running", "critic": "waiting"} else None

    running = await wait_until(under_way, of="a sub-agent that runs")
    assert running.owner_agent == "agent-2"
    assert "remind" in running.active_tools
    assert running.sub_agents["critic"].output_key == ""
    await asyncio.wait_for(following, 60)

    async def whole() -> Session | None:
        session = await read_session(two.redis, conversation)
        return session if session and session.answered_turn == 1 else None

    ended = await wait_until(whole, of="the session after its turn")
    rows = await two.postgres.rows("ended_tasks", ids=[it.output_key for it in ended.sub_agents.values()])
    assert sorted(row["result"]["model"] for row in rows) == [it.model for it in ended.sub_agents.values()]
    assert {name: it.status for name, it in ended.sub_agents.items()} == {"facts": "done", "critic": "done"}
    assert (ended.messages_count, ended.recent_messages[0].text) == (2, plan)
