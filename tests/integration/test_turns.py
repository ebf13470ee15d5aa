"""How turns end: well, badly, early; always visibly (DESIGN part 6)."""

import asyncio
from typing import Any

import pytest

from tests.client import Client, follow_to_the_end, sse
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider, expected_text
from tests.waiting import wait_until


async def ask(client: Client, message: str) -> tuple[str, list[dict[str, Any]]]:
    """Ask in a new conversation; return it and all events of the turn."""
    conversation = await client.create()
    accepted = await client.send(conversation, message)
    events = await asyncio.wait_for(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]), 60)
    return conversation, events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of all events but tokens."""
    return [event["type"] for event in events if event["type"] != "token"]


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the text of the last attempt, as a page builds it."""
    last = max(event["attempt"] for event in events)
    text = ""
    for event in events:
        if event["attempt"] == last and event["type"] == "token":
            text += event["text"]
        if event["attempt"] == last and event["type"] == "snapshot" and event["turn"]:
            text = event["text"]
    return text


async def test_a_model_that_fails_twice_is_asked_again_and_says_so(client: Client) -> None:
    message = "please [[fail_times=2 status=500 tokens=5]]"
    conversation, events = await ask(client, message)
    assert kinds(events).count("retrying") == 2
    assert [event["attempt"] for event in events if event["type"] == "attempt_restarted"] == [2, 3]
    assert (await client.transcript(conversation))["messages"][-1]["text"] == expected_text(message)


async def test_a_model_that_keeps_failing_ends_the_turn_with_its_reason(client: Client) -> None:
    conversation, events = await ask(client, "please [[status=500]]")
    assert events[-1]["type"] == "failed"
    assert events[-1]["reason"]
    [turn] = (await client.transcript(conversation))["ended_badly"]
    assert (turn["state"], turn["reason"]) == ("failed", events[-1]["reason"])


async def test_a_model_that_breaks_in_mid_answer_is_asked_again(client: Client) -> None:
    message = "please [[fail_times=1 break_after=5 tokens=20]]"
    _, events = await ask(client, message)
    assert text_of(events) == expected_text(message)
    assert "attempt_restarted" in kinds(events)


async def test_a_refused_request_fails_at_once(client: Client) -> None:
    _, events = await ask(client, "please [[status=400]]")
    assert "retrying" not in kinds(events)
    assert events[-1]["type"] == "failed"


async def test_a_silent_model_fails_the_turn_and_the_next_one_is_answered(client: Client) -> None:
    conversation, events = await ask(client, "please [[hang_after=3]]")
    assert events[-1]["type"] == "failed"
    accepted = await client.send(conversation, "and now? [[tokens=3]]")
    later = await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    assert later[-1]["type"] == "done"


async def test_an_endless_answer_is_cut_and_kept(client: Client) -> None:
    _, events = await ask(client, "please [[endless]]")
    assert events[-1]["type"] == "done"
    assert events[-1]["finish_reason"] in ("cut", "length")


async def test_stopping_a_turn_ends_the_model_call_and_keeps_what_was_written(
    client: Client, provider: FakeProvider
) -> None:
    conversation = await client.create()
    message = "stop me [[tokens=500 delay=20ms]]"
    accepted = await client.send(conversation, message)
    follower = asyncio.create_task(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]))

    async def call() -> Any:
        return next((call for call in await provider.calls(message) if call["tokens"] > 3), None)

    await wait_until(call, of="a model call under way")
    await client.http.post(f"/api/v1/conversations/{conversation}/turns/{accepted['turn']}/cancel")
    events = await asyncio.wait_for(follower, 10)
    assert events[-1]["type"] == "cancelled"

    async def aborted() -> bool:
        return bool((await provider.calls(message))[0]["aborted"])

    await wait_until(aborted, of="the end of the call at the provider")
    kept = (await client.transcript(conversation))["messages"][-1]["text"]
    assert kept == text_of(events)
    assert expected_text(message).startswith(kept)
    assert kept


async def test_a_second_message_waits_for_the_first_and_both_are_answered_in_order(client: Client) -> None:
    conversation = await client.create()
    first = await client.send(conversation, "one [[tokens=30 delay=10ms word=a]]")
    second = await client.send(conversation, "two [[tokens=3 word=b]]")
    assert second["state"] == "waiting"
    await follow_to_the_end(client, conversation, second["turn"], first["cursor"])
    messages = (await client.transcript(conversation))["messages"]
    assert [(m["turn_no"], m["role"]) for m in messages] == [
        (1, "user"), (1, "assistant"), (2, "user"), (2, "assistant"),
    ]  # fmt: skip


async def test_the_model_is_told_what_was_said_before(client: Client, provider: FakeProvider) -> None:
    conversation, _ = await ask(client, "first [[tokens=2 word=x]]")
    accepted = await client.send(conversation, "second [[tokens=2]]")
    await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    [call] = await provider.calls("second [[tokens=2]]")
    assert call["messages"] == 3


async def test_the_same_message_sent_twice_is_answered_once(client: Client, provider: FakeProvider) -> None:
    conversation = await client.create()
    message = "only once [[tokens=3 word=once]]"
    both = await asyncio.gather(*(client.send(conversation, message, client_id="same") for _ in range(2)))
    assert both[0]["turn"] == both[1]["turn"]
    await follow_to_the_end(client, conversation, both[0]["turn"])
    assert len(await provider.calls(message)) == 1


@pytest.mark.parametrize("message", ["early [[tokens=5]]", "early [[status=500]]"])
async def test_who_comes_after_the_end_without_a_cursor_is_told_it_by_its_row(client: Client, message: str) -> None:
    """It used to hear pings for ever: the events were before the place from which it was given them."""
    conversation, seen = await ask(client, message)
    late = await follow_to_the_end(client, conversation, seen[-1]["turn"])
    assert kinds(late) == ["snapshot", seen[-1]["type"]]
    assert text_of(late) == text_of(seen)
    assert late[-1] | {"cursor": ""} == seen[-1] | {"cursor": ""}


async def test_a_message_sent_again_for_its_answer_is_given_the_whole_answer(client: Client) -> None:
    path = f"/api/v1/conversations/{await client.create()}/messages"
    body = {"text": "twice [[tokens=5]]", "client_id": "same"}
    heard = []
    for _ in range(2):
        headers = {"Accept": "text/event-stream"}
        async with asyncio.timeout(30), client.http.stream("POST", path, json=body, headers=headers) as answer:
            heard.append([event async for event in sse(answer) if event["type"] != "ping"])
    assert [events[-1]["type"] for events in heard] == ["done", "done"]
    assert text_of(heard[0]) == text_of(heard[1]) == expected_text(body["text"])


async def test_the_end_of_a_turn_is_told_in_its_own_conversation_only(client: Client) -> None:
    _, seen = await ask(client, "mine [[tokens=2]]")
    elsewhere = await client.create()
    feed = client.events(elsewhere, turn=seen[-1]["turn"])
    first = await asyncio.wait_for(anext(feed), 30)
    await feed.aclose()
    assert (first["type"], first["turn"]) == ("snapshot", "")
    refused = await client.http.get(f"/api/v1/conversations/{elsewhere}/events", params={"turn": "none"})
    assert refused.status_code == 404


async def test_two_followers_on_two_agents_see_the_same_events_in_the_same_order(
    cluster: Cluster, client: Client
) -> None:
    conversation = await client.create()
    agents = (await cluster.view()).agents
    token = client.http.headers["authorization"].removeprefix("Bearer ")
    direct = [Client(f"http://{agent.host}:{agent.port}", token) for agent in agents[:2]]
    cursor = (await client.transcript(conversation))["cursor"]
    accepted = await client.send(conversation, "both [[tokens=50 delay=5ms]]")
    seen = await asyncio.gather(*(follow_to_the_end(it, conversation, accepted["turn"], cursor) for it in direct))
    for one in direct:
        await one.aclose()
    assert seen[0] == seen[1]
    cursors = [event["cursor"] for event in seen[0]]
    assert len(set(cursors)) == len(cursors)


@pytest.mark.parametrize("text", ["", "   \n "])
async def test_an_empty_message_is_refused_with_a_sentence(client: Client, text: str) -> None:
    answer = await client.http.post(f"/api/v1/conversations/{await client.create()}/messages", json={"text": text})
    assert answer.status_code == 400
    assert "empty" in answer.json()["detail"]
