"""Agents with their keepers are restarted under load, and no user's turn fails (FAULTS F26, F27, I13)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster, running_cluster
from tests.fakes.models import expected_text
from tests.waiting import wait_until
from tests.watched import check_nobody_noticed, turns_on

AGENTS = 3
PEOPLE = 12


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """A cluster of its own: all its agents end."""
    async with running_cluster(AGENTS, CLUSTER_DRAIN_TIMEOUT="1") as running:
        yield running


async def test_sigterm_to_an_agent_with_ten_turns_and_streams_loses_none(cluster: Cluster, client: Client) -> None:
    turns = await turns_on(cluster, client, "agent-1", 10, "tokens=300 delay=20ms")
    assert await cluster.terminate("agent-1") == 0
    await check_nobody_noticed(cluster, client, cluster.provider, turns, attempts={2})
    cluster.start_agent("agent-1")
    await cluster.until_active(AGENTS)


@pytest.mark.timeout(180)
async def test_a_rolling_restart_of_all_agents_under_load_costs_no_turn(cluster: Cluster, client: Client) -> None:
    over = asyncio.Event()
    people = [asyncio.create_task(talk(client, number, over)) for number in range(PEOPLE)]
    before = await epoch(cluster)
    for agent in [f"agent-{number}" for number in range(1, AGENTS + 1)]:
        assert await cluster.terminate(agent) == 0
        cluster.start_agent(agent)
        await cluster.until_active(AGENTS)
        await wait_until(lambda: leads(cluster), of="a primary")
    over.set()
    assert all(turns > 0 for turns in await asyncio.gather(*people))
    assert await epoch(cluster) - before <= AGENTS


async def talk(client: Client, number: int, over: asyncio.Event) -> int:
    """Say one thing after the other in one conversation; return how many were answered, each once and whole."""
    conversation = await client.create()
    said: list[str] = []
    for turn in itertools.count():
        message = f"person {number} turn {turn} [[tokens=60 delay=20ms word=p{number}t{turn}w]]"
        send = partial(client.send, conversation, message, client_id=message)
        accepted = await wait_until(send, of="an accepted message")
        events = await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
        kinds = [event["type"] for event in events if event.get("turn") in ("", accepted["turn"])]
        assert kinds[-1] == "done", kinds
        assert not {"failed", "retrying", "snapshot"} & set(kinds)
        said += [message, expected_text(message)]
        if over.is_set():
            break
    assert [it["text"] for it in (await client.transcript(conversation))["messages"]] == said
    return len(said) // 2


async def epoch(cluster: Cluster) -> int:
    return int((await cluster.view()).epoch)


async def leads(cluster: Cluster) -> Any:
    return (await cluster.view()).primary_id
