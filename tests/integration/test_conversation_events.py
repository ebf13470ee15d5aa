"""The event stream's rules on a real Redis (PROTOCOLS 8)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from appliance.core.conversation_events import ConversationEvents, is_known, parse_cursor
from appliance.core.errors import NoAttempt, NoGeneration, StaleAttempt
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from tests.stores import Stores


@pytest.fixture
async def redis(stores: Stores) -> AsyncIterator[Redis]:
    connected = Redis(stores.settings(redis_key_prefix=f"t{uuid4().hex[:6]}:"))
    await Registry(connected).initialise(new_generation(), 0)
    yield connected
    leaked = [
        key
        async for key in connected.data.scan_iter(connected.keys.prefix + "*")
        if await connected.data.ttl(key) < 0 and key not in (connected.keys.generation, connected.keys.epoch)
    ]
    await connected.aclose()
    assert leaked == [], "keys without TTL or owner"


@pytest.fixture
def events(redis: Redis) -> ConversationEvents:
    return ConversationEvents(redis)


async def test_only_the_attempt_opened_last_may_append(events: ConversationEvents) -> None:
    await events.open_attempt("c", "t", 1, agent="a", first=("started", {}))
    await events.open_attempt("c", "t", 2, agent="b", first=("attempt_restarted", {}))
    with pytest.raises(StaleAttempt):
        await events.append("c", "t", 1, [("token", {"text": "late"})])
    with pytest.raises(StaleAttempt):
        await events.open_attempt("c", "t", 1, agent="a")
    await events.append("c", "t", 2, [("token", {"text": "now"})])


async def test_an_attempt_nobody_opened_is_refused(events: ConversationEvents) -> None:
    with pytest.raises(NoAttempt):
        await events.append("c", "t", 1, [("token", {"text": "x"})])


async def test_an_attempt_that_redis_forgot_is_not_overtaken(events: ConversationEvents) -> None:
    await events.open_attempt("c", "t", 1, agent="a", first=("started", {}))
    with pytest.raises(NoAttempt):
        await events.append("c", "t", 2, [("token", {"text": "x"})])


async def test_a_restart_names_the_agent_before_and_the_gap(events: ConversationEvents) -> None:
    await events.open_attempt("c", "t", 1, agent="agent-1", first=("started", {}))
    opened = await events.open_attempt("c", "t", 2, agent="agent-3", first=("attempt_restarted", {"agent": "agent-3"}))
    position = await events.position("c")
    [restarted] = await events.since("c", position.generation, position.first)
    assert restarted.data["from"] == opened.agent_before == "agent-1"
    assert 0 <= restarted.data["gap_ms"] < 5000


async def test_a_turns_start_is_found_again(events: ConversationEvents) -> None:
    await events.open_attempt("c", "old", 1, agent="a", first=("started", {}))
    opened = await events.open_attempt("c", "t", 1, agent="a", first=("started", {}))
    await events.append("c", "t", 1, [("token", {"text": "x"})])
    position = await events.position("c", "t")
    assert position.cursor(position.turn_start) == opened.cursor
    assert [it.type for it in await events.since("c", position.generation, position.turn_start)] == ["started", "token"]


async def test_cursors_of_another_generation_or_beyond_the_end_are_unknown(events: ConversationEvents) -> None:
    await events.open_attempt("c", "t", 1, agent="a", first=("started", {}))
    position = await events.position("c")
    good = parse_cursor(position.cursor(position.last))
    assert good is not None
    assert is_known(good, position)
    assert not is_known(("other", position.last), position)
    assert not is_known((position.generation, "99999999999999-0"), position)
    assert parse_cursor("nonsense") is None


async def test_an_empty_redis_refuses_until_it_is_initialised(events: ConversationEvents, redis: Redis) -> None:
    await redis.data.delete(redis.keys.generation)
    with pytest.raises(NoGeneration):
        await events.open_attempt("c", "t", 1, agent="a")


async def test_the_library_is_loaded_again_when_redis_lost_it(events: ConversationEvents, redis: Redis) -> None:
    await redis.data.function_delete("nexus")
    await events.open_attempt("c", "t", 1, agent="a", first=("started", {}))
