"""Above its load limit a turn waits, visibly, and is taken as soon as a slot is free (PROTOCOLS 7.4)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster, running_cluster
from tests.waiting import wait_until


@pytest.fixture(scope="module")
async def small() -> AsyncIterator[Cluster]:
    """One agent with one slot; two turns may wait."""
    async with running_cluster(1, CLUSTER_MAX_LOAD="1", CLUSTER_MAX_QUEUED="2") as cluster:
        yield cluster


@pytest.fixture
async def person(small: Cluster) -> AsyncIterator[Client]:
    _, token = await small.sign_in()
    client = Client(small.url, token)
    yield client
    await client.aclose()


async def test_a_turn_above_the_limit_is_queued_visibly_and_answered_next(small: Cluster, person: Client) -> None:
    first, second = await person.create(), await person.create()
    running = await person.send(first, "long [[tokens=60 delay=10ms]]")
    queued = await person.send(second, "next [[tokens=2]]")
    assert (running["state"], queued["state"]) == ("running", "queued")
    events = await asyncio.wait_for(follow_to_the_end(person, second, queued["turn"], queued["cursor"]), 20)
    assert events[0]["type"] == "accepted"
    assert events[0]["queued"] is True
    assert events[-1]["type"] == "done"


async def test_too_many_waiting_turns_are_refused_with_a_reason_and_a_time(small: Cluster, person: Client) -> None:
    conversations = [await person.create() for _ in range(4)]
    accepted = [await person.send(it, "long [[tokens=50 delay=10ms]]") for it in conversations[:3]]
    answer = await person.http.post(f"/api/v1/conversations/{conversations[3]}/messages", json={"text": "one more"})
    assert answer.status_code == 429
    assert "Retry-After" in answer.headers
    assert "try again" in answer.json()["detail"]
    for conversation, turn in zip(conversations, accepted, strict=False):
        await follow_to_the_end(person, conversation, turn["turn"], turn["cursor"])


async def test_the_load_is_shown_in_the_registry(small: Cluster, person: Client) -> None:
    conversation = await person.create()
    turn = await person.send(conversation, "long [[tokens=80 delay=10ms]]")

    async def loaded() -> bool:
        agent = await small.agent("agent-1")
        return (agent.current_load, agent.max_load) == (1, 1)

    await wait_until(loaded, of="a load of 1 of 1")
    await follow_to_the_end(person, conversation, turn["turn"], turn["cursor"])


async def test_a_queued_turn_can_be_stopped_before_it_begins(small: Cluster, person: Client) -> None:
    first, second = await person.create(), await person.create()
    running = await person.send(first, "long [[tokens=60 delay=10ms]]")
    queued = await person.send(second, "never [[tokens=2]]")
    answer = await person.http.post(f"/api/v1/conversations/{second}/turns/{queued['turn']}/cancel")
    assert answer.json()["state"] == "cancelled"
    events = await asyncio.wait_for(follow_to_the_end(person, second, queued["turn"], queued["cursor"]), 20)
    assert events[-1]["type"] == "cancelled"
    await follow_to_the_end(person, first, running["turn"], running["cursor"])
