"""A store that is away never looks like a dead peer, and costs nothing that was accepted (PROTOCOLS 6.5)."""

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from appliance.cli.talk import Talk
from appliance.core.clock import monotonic
from appliance.core.redis import DATA_CALL_S
from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster, running_cluster
from tests.fakes.models import expected_text
from tests.integration.test_turns import text_of
from tests.waiting import wait_until

MESSAGE = "outage [[tokens=120 delay=20ms]]"


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Cluster]:
    """A cluster whose stores may be hurt."""
    async with running_cluster(2, CLUSTER_DRAIN_TIMEOUT="1") as cluster:
        yield cluster


@pytest.fixture
async def person(own: Cluster) -> AsyncIterator[Client]:
    _, token = await own.sign_in()
    client = Client(own.url, token)
    yield client
    await client.aclose()


async def boots(cluster: Cluster) -> set[str]:
    async def seen() -> set[str]:
        return {agent.boot for agent in (await cluster.view()).agents}

    return set(await wait_until(seen, of="a view of the registry"))


async def in_mid_answer(own: Cluster, person: Client) -> tuple[str, dict[str, Any], asyncio.Task[Any]]:
    conversation = await person.create()
    accepted = await person.send(conversation, MESSAGE)
    follower = asyncio.create_task(follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"]))

    async def writing() -> bool:
        return bool(await own.redis.data.xlen(own.redis.keys.events(conversation)) > 5)

    await wait_until(writing, of="the first words")
    return conversation, accepted, follower


async def committed(person: Client, conversation: str) -> str:
    return str((await person.transcript(conversation))["messages"][-1]["text"])


async def test_flushall_in_mid_answer_costs_no_word_and_no_agent(own: Cluster, person: Client) -> None:
    before = await boots(own)
    conversation, _, follower = await in_mid_answer(own, person)
    await own.redis.data.flushall()
    events = await asyncio.wait_for(follower, 30)
    assert text_of(events) == expected_text(MESSAGE) == await committed(person, conversation)
    await own.until_active(2)
    assert await boots(own) == before, "nobody was declared dead"


async def test_the_command_line_is_told_an_answer_whose_events_were_flushed_before_it_listened(own: Cluster) -> None:
    _, token = await own.sign_in()
    async with Talk(own.url, token) as talk:
        await talk.ask("flushed [[tokens=3]]")

        async def answered() -> bool:
            row = await own.postgres.row("turn", task=talk.turn)
            return row is not None and row["state"] == "done"

        await wait_until(answered, of="the answer's row")
        await own.redis.data.flushall()
        async with asyncio.timeout(30):
            events = [event async for event in talk.events() if event.get("turn")]
    assert [event["type"] for event in events] == ["snapshot", "done"]
    assert events[0]["text"] == expected_text("flushed [[tokens=3]]")
    await own.until_active(2)


async def test_redis_killed_and_started_again_in_mid_answer_costs_no_word(own: Cluster, person: Client) -> None:
    before = await boots(own)
    conversation, _, follower = await in_mid_answer(own, person)
    own.stores.signal("redis", signal.SIGKILL)
    await own.stores.start_one("redis")
    events = await asyncio.wait_for(follower, 30)
    assert text_of(events) == expected_text(MESSAGE) == await committed(person, conversation)
    await own.until_active(2)
    assert await boots(own) == before, "nobody was declared dead"


async def test_a_message_sent_while_redis_is_down_is_accepted_and_answered_later(own: Cluster, person: Client) -> None:
    conversation = await person.create()
    own.stores.signal("redis", signal.SIGKILL)
    try:

        async def noticed() -> bool:
            accepted = await person.send(conversation, "kept [[tokens=3]]", client_id="kept")
            return bool(accepted["state"] == "queued")

        await wait_until(noticed, of="an accepted, queued turn without Redis")
    finally:
        await own.stores.start_one("redis")

    async def answered() -> bool:
        return bool((await person.transcript(conversation))["messages"][-1]["role"] == "assistant")

    await wait_until(answered, of="the answer after Redis is back")


async def test_a_frozen_redis_is_no_reason_to_declare_anybody_dead(own: Cluster, person: Client) -> None:
    before = await boots(own)
    own.stores.signal("redis", signal.SIGSTOP)
    await asyncio.sleep(2.5)  # the fault itself: PROTOCOLS F11
    own.stores.signal("redis", signal.SIGCONT)
    await own.until_active(2)
    assert await boots(own) == before
    conversation = await person.create()
    accepted = await person.send(conversation, "after [[tokens=3]]")
    assert (await follow_to_the_end(person, conversation, accepted["turn"]))[-1]["type"] == "done"


async def test_a_redis_known_to_be_frozen_is_not_waited_for_with_a_message_that_is_committed(
    own: Cluster, person: Client
) -> None:
    """Its page gives up after 0.7 s, and asked another agent, which had perhaps not noticed yet and took the turn."""
    conversation = await person.create()
    numbers = count()

    async def accepted_at_once() -> bool:
        began = monotonic()
        await person.send(conversation, "kept [[tokens=3]]", client_id=f"number {next(numbers)}")
        return monotonic() - began < DATA_CALL_S / 2

    own.stores.signal("redis", signal.SIGSTOP)
    try:
        await wait_until(accepted_at_once, of="a message accepted without waiting for Redis")
    finally:
        own.stores.signal("redis", signal.SIGCONT)
    await own.until_active(2)


async def test_postgresql_restarted_in_mid_answer_only_delays_the_commit(own: Cluster, person: Client) -> None:
    conversation, _, follower = await in_mid_answer(own, person)
    own.stores.signal("postgres", signal.SIGINT)
    await asyncio.to_thread(own.stores.processes["postgres"].wait)
    refused = await person.http.post(f"/api/v1/conversations/{conversation}/messages", json={"text": "now?"})
    assert refused.status_code == 503
    assert refused.headers["content-type"].startswith("application/problem+json")
    assert "Retry-After" in refused.headers
    await asyncio.wait({follower}, timeout=3)
    await own.stores.start_one("postgres")
    events = await asyncio.wait_for(follower, 40)
    assert events[-1]["type"] == "done"
    assert await committed(person, conversation) == expected_text(MESSAGE)


async def test_while_postgresql_is_away_agents_say_so_and_none_is_taken_for_dead(own: Cluster, person: Client) -> None:
    """An agent that waited longer for PostgreSQL than the gateway for the agent was left alone as if frozen."""
    conversation = await person.create()
    own.stores.signal("postgres", signal.SIGINT)
    await asyncio.to_thread(own.stores.processes["postgres"].wait)
    try:
        said = [
            await person.http.post(f"/api/v1/conversations/{conversation}/messages", json={"text": "hello?"})
            for _ in range(3)
        ]
    finally:
        await own.stores.start_one("postgres")
    assert [answer.status_code for answer in said] == [503] * 3
    titles = {answer.json()["title"] for answer in said}
    assert len(titles) == 1
    assert titles.pop().startswith("A store of the cluster does not answer"), titles


@pytest.mark.parametrize("away", ["both", "postgres"])
async def test_a_keeper_obeys_sigterm_while_its_stores_are_away(own: Cluster, away: str) -> None:
    """Both away: it still waits for them to begin. PostgreSQL away: it has begun and cannot hand its boot back."""
    if away == "both":
        nowhere = {"REDIS_URL": "redis://127.0.0.1:9", "POSTGRES_URL": "postgresql://nexus@127.0.0.1:9/nexus"}
        own.start_agent("agent-9", **nowhere)

        async def waits() -> bool:
            return "waiting_for_store" in own.log_of("agent-9")

        await wait_until(waits, of="a keeper that waits for its stores")
        assert await own.terminate("agent-9") == -signal.SIGTERM
        return
    own.stores.signal("postgres", signal.SIGINT)
    await asyncio.to_thread(own.stores.processes["postgres"].wait)
    try:
        assert await own.terminate("agent-2") == 0
    finally:
        await own.stores.start_one("postgres")
        own.start_agent("agent-2")
        await own.until_active(2)


async def test_a_primary_that_is_told_to_end_while_redis_is_away_ends_in_order(own: Cluster) -> None:
    async def seat() -> str | None:
        return (await own.view()).primary_id

    primary: str = await wait_until(seat, of="a primary")
    own.stores.signal("redis", signal.SIGSTOP)
    try:
        code = await own.terminate(primary)
    finally:
        own.stores.signal("redis", signal.SIGCONT)
    assert code == 0, own.log_of(primary)[-2000:]
    await wait_until(seat, of="its successor")
    own.start_agent(primary)
    await own.until_active(2)
