"""Agents that serve and yet take no work, or nothing new: a standby, and a cluster of too few (DESIGN part 15)."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from appliance.core.records import Role
from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import wait_until


@pytest.fixture(scope="module")
async def few(stores: Stores, provider: FakeProvider) -> AsyncIterator[Runners]:
    """Three runners that may not lose one of their two secondaries."""
    async with running_runners(stores, provider, 3, CLUSTER_MIN_SECONDARIES="2") as running:
        yield running


@pytest.fixture
async def person(few: Runners) -> AsyncIterator[Client]:
    _, token = await few.sign_in()
    client = Client(few.url, token)
    yield client
    await client.aclose()


async def test_a_standby_takes_no_ordinary_work_and_is_no_edge_while_others_live(few: Runners, person: Client) -> None:
    standby = await few.agent("agent-1")
    few.pages["agent-1"].role = Role.STANDBY
    direct = Client(await few.direct("agent-1"), person.http.headers["authorization"].removeprefix("Bearer "))
    for _ in range(5):
        conversation = await direct.create()
        accepted = await direct.send(conversation, "for others [[tokens=3]]")
        assert accepted["state"] == "queued"
        events = await follow_to_the_end(direct, conversation, accepted["turn"], accepted["cursor"])
        assert events[-1]["agent"] != standby.id
    await wait_until(lambda: lists(few, standby.port, yes=False), of="a gateway that sends nobody to a standby")
    few.pages["agent-1"].role = Role.SECONDARY
    await wait_until(lambda: lists(few, standby.port, yes=True), of="a gateway that sends people there again")
    await direct.aclose()


async def lists(few: Runners, port: int, *, yes: bool) -> bool:
    return (f":{port} " in few.listed()) is yes


async def test_too_few_agents_begin_no_new_conversation_but_go_on_with_the_old_ones(
    few: Runners, person: Client
) -> None:
    epoch = await few.promote("agent-1")

    async def all_know() -> bool:
        return all(agent.config_epoch == epoch for agent in (await few.view()).agents)

    await wait_until(all_know, of="a cluster that has had two secondaries in this epoch")
    old = await person.create()
    await few.kill("agent-3", signal.SIGKILL)

    for agent_id in ("agent-1", "agent-2"):
        address = f"{await few.direct(agent_id)}/api/v1/conversations"

        async def refused(address: str = address) -> Any:
            answer = await person.http.post(address, json={})
            return answer.json() if answer.status_code == 503 else None

        problem = await wait_until(refused, of=f"the refusal of a new conversation by {agent_id}")
        assert "CLUSTER_MIN_SECONDARIES=0" in problem["detail"]
        assert "1 of at least 2" in problem["detail"]
    for _ in range(6):  # said often, it must not make the gateway give the agents up
        new = "00000000-0000-4000-8000-000000000001"
        answer = await person.http.post(f"/api/v1/conversations/{new}/messages", json={"text": "new", "create": True})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    accepted = await person.send(old, "old [[tokens=3]]", create=True)
    assert (await follow_to_the_end(person, old, accepted["turn"], accepted["cursor"]))[-1]["type"] == "done"
    few.start_agent("agent-3")
    await wait_until(lambda: _begins(person), of="a new conversation once the third agent is back")


async def _begins(person: Client) -> bool:
    return (await person.http.post("/api/v1/conversations", json={})).status_code == 201
