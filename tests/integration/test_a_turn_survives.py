"""The first promise: a turn goes on when its agent dies."""

import asyncio

from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster
from tests.fakes.models import expected_text
from tests.waiting import wait_until


async def test_an_answer_streams_through_the_gateway_and_is_committed(client: Client) -> None:
    conversation = await client.create()
    accepted = await client.send(conversation, "hello [[tokens=20 delay=5ms]]")
    events = await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    text = "".join(event["text"] for event in events if event["type"] == "token")
    assert text == expected_text("hello [[tokens=20 delay=5ms]]")
    transcript = await client.transcript(conversation)
    assert [message["text"] for message in transcript["messages"]] == ["hello [[tokens=20 delay=5ms]]", text]
    assert [event["type"] for event in events if event["type"] != "token"] == ["accepted", "started", "route", "done"]


async def test_killing_keeper_and_runner_in_mid_answer_restarts_the_answer_elsewhere(
    cluster: Cluster, client: Client
) -> None:
    conversation = await client.create()
    message = "tell me [[tokens=100 delay=20ms]]"
    accepted = await client.send(conversation, message)
    follower = asyncio.create_task(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]))

    async def owner() -> str | None:
        row = await cluster.postgres.row("turn", task=accepted["turn"])
        boots = {agent.boot: agent.id for agent in (await cluster.view()).agents}
        return boots.get(str(row["owner_boot"])) if row else None

    lost = await wait_until(owner, of="an owner of the turn")
    await asyncio.sleep(0.5)
    await cluster.kill(lost)
    events = await asyncio.wait_for(follower, 20)
    cluster.start_agent(lost)
    restarted = next(event for event in events if event["type"] == "attempt_restarted")
    text = "".join(e["text"] for e in events if e["type"] == "token" and e["attempt"] == restarted["attempt"])
    assert text == expected_text(message)
    assert restarted["from"] == lost
    assert restarted["gap_ms"] < 5000
    await cluster.until_active(3)
