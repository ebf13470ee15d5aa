"""What a `/multi` makes of a sub-agent that fails for good, and of limits: what its plan says, visibly."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.asked import owner
from tests.boards import Boarded, boarded
from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.multi import answered, ask, calls_of, children_of, last_of
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until

BAD = "[[status=400]]"


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider) -> AsyncIterator[Boarded[Runners]]:
    """Two runners with two slots each; the first is primary."""
    async with boarded(stores, provider, 2, slots=2) as made:
        yield made


async def test_who_may_stop_the_whole_ends_the_turn_by_name_and_the_others_are_cancelled(
    person: Client, provider: FakeProvider
) -> None:
    text = (
        f"/multi Stop\n- key = researcher (or stop): Find it {BAD}\n"
        "- long = builder: Talk [[endless delay=20ms word=on]]\n- last = reviewer (after long): x [[word=nostop]]"
    )
    conversation, events = await answered(person, text)
    assert events[-1]["type"] == "failed"
    assert events[-1]["reason"].startswith("key failed, and the plan stops without it: ")
    kept = await last_of(person, conversation)
    assert kept["role"] == "assistant"
    assert "key failed" in kept["text"]
    states = {child["id"]: child["state"] for child in kept["meta"]["children"]}
    assert states == {"key": "dead", "long": "cancelled", "last": "skipped"}

    async def hung_up() -> bool:
        return all(call["aborted"] for call in await calls_of(provider, "on"))

    await wait_until(hung_up, of="the end of what ran")
    assert not await calls_of(provider, "nostop")


async def test_who_may_be_retried_has_one_more_whole_task_and_the_first_stays_in_the_tree(
    two: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    """The provider refuses it as often as a first task is tried; the second one works."""
    text = "/multi Again\n- hard = builder (or retry): Do it [[status=400 fail_times=3 tokens=2 word=hard]]"
    conversation, events = await answered(person, text)
    assert events[-1]["type"] == "done"
    (hard,) = (await last_of(person, conversation))["meta"]["children"]
    assert (hard["state"], hard["text"]) == ("done", "hard1 hard2")
    assert [it["state"] for it in hard["earlier"]] == ["dead"]
    assert hard["earlier"][0]["reason"]
    assert children_of(events)["hard"] | {"text": ""} == children_of(events)["hard"] | {"text": "", **_same(hard)}
    keys = {call["idem_key"] for call in await calls_of(provider, "hard")}
    assert len(keys) == 2, "the second task is another one"


def _same(child: dict[str, object]) -> dict[str, object]:
    return {name: child[name] for name in ("state", "earlier", "on_failure")}


async def test_who_fails_again_is_gone_on_without(person: Client) -> None:
    text = f"/multi Twice\n- bad = builder (or retry): Do it {BAD}\n- good = builder (after bad): x [[tokens=1]]"
    conversation, events = await answered(person, text)
    assert events[-1]["type"] == "done"
    children = {child["id"]: child for child in (await last_of(person, conversation))["meta"]["children"]}
    assert (children["bad"]["state"], len(children["bad"]["earlier"])) == ("dead", 1)
    assert children["good"]["state"] == "done"


async def test_when_the_tokens_are_used_up_nothing_more_begins_and_what_runs_is_cancelled(
    person: Client, provider: FakeProvider
) -> None:
    text = (
        "/multi Cheap\nlimits: tokens=20\n- first = builder: Do it [[tokens=30 word=first]]\n"
        "- long = builder: Talk [[endless delay=20ms word=costly]]\n"
        "- next = builder (after first; or stop): x [[word=beyond]]\n"
        "- end = builder (after long; or stop): x [[word=beyond]]"
    )
    conversation, events = await answered(person, text)
    assert events[-1]["type"] == "done", "the answer is made from what there is"
    kept = await last_of(person, conversation)
    assert kept["text"].startswith("Ended early: its limit of 20 tokens is used up.")
    assert kept["meta"]["team_note"] == "limits: 20 tokens, 480 s · ended early: its limit of 20 tokens is used up"
    assert [event["note"] for event in events if event["type"] == "limit"] == [kept["meta"]["team_note"]]
    states = {child["id"]: child["state"] for child in kept["meta"]["children"]}
    assert states == {"first": "done", "long": "cancelled", "next": "skipped", "end": "skipped"}
    assert not await calls_of(provider, "beyond")
    synthesis = [call["message"] for call in await provider.calls() if call["message"].startswith("Cheap")]
    assert "Not every sub-agent worked to its end: its limit of 20 tokens is used up." in synthesis[0]
    assert "first1 first2" in synthesis[0]


async def test_when_the_time_is_used_up_the_answer_is_made_from_what_there_is(person: Client) -> None:
    text = (
        "/multi Fast\nlimits: seconds=2\n- quick = builder: Do it [[tokens=2 word=quick]]\n"
        "- long = builder: Talk [[endless delay=20ms]]"
    )
    conversation, events = await answered(person, text)
    assert events[-1]["type"] == "done"
    kept = await last_of(person, conversation)
    assert kept["text"].startswith("Ended early: its limit of 2 s is used up.")
    assert [child["state"] for child in kept["meta"]["children"]] == ["done", "cancelled"]


async def test_a_limit_that_is_reached_with_the_last_result_ends_nothing(person: Client) -> None:
    conversation, _ = await answered(person, "/multi Just\nlimits: tokens=1\n- one = builder: Do it [[tokens=3]]")
    kept = await last_of(person, conversation)
    assert kept["meta"]["team_note"] == "limits: 1 tokens, 480 s"
    assert not kept["text"].startswith("Ended early")


async def test_a_yaml_document_is_a_plan(person: Client) -> None:
    text = '/multi\ngoal: From YAML\nagents:\n  - {id: only, role: builder, goal: "Do it [[tokens=2 word=yaml]]"}'
    conversation, events = await answered(person, text)
    assert events[-1]["type"] == "done"
    (only,) = (await last_of(person, conversation))["meta"]["children"]
    assert (only["id"], only["text"]) == ("only", "yaml1 yaml2")


async def killed_when(two: Boarded[Runners], person: Client, text: str, now: Callable[[], Awaitable[bool]]) -> str:
    """Kill the primary once `now` holds; return the conversation when another one has answered."""
    conversation, accepted = await ask(person, text)
    seen = asyncio.create_task(follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"]))
    await wait_until(now, of="the middle of it")
    primary = await owner(two.cluster, accepted["turn"])
    await two.cluster.kill(primary, signal.SIGKILL)
    await two.cluster.promote("agent-2" if primary == "agent-1" else "agent-1")
    events = await seen
    await two.cluster.restart(primary)
    assert events[-1]["type"] == "done"
    assert events[-1]["attempt"] > 1, "another attempt answered"
    return conversation


async def test_a_new_primary_begins_nothing_when_a_limit_was_used_up_before(
    two: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    async def calls(goal: str) -> list[dict[str, Any]]:
        return [call for call in await provider.calls() if call["message"].startswith(goal)]

    async def answering() -> bool:
        return bool(await calls("Taken over"))

    text = (
        "/multi Taken over [[first=1s]]\nlimits: tokens=1\n- first = builder: Spend [[tokens=3]]\n"
        "- beside = builder (or stop): Go on [[endless delay=20ms]]\n- next = builder (after beside): Not begun"
    )
    kept = await last_of(person, await killed_when(two, person, text, answering))
    assert {child["id"]: child["state"] for child in kept["meta"]["children"]} == {
        "first": "done", "beside": "cancelled", "next": "skipped",
    }  # fmt: skip
    assert kept["text"].startswith("Ended early: its limit of 1 tokens is used up.")
    assert not await calls("Not begun")
    assert len(await calls("Spend")) == 1


async def test_a_new_primary_goes_on_with_a_second_try(
    two: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    async def keys() -> set[str]:
        return {call["idem_key"] for call in await calls_of(provider, "second")}

    async def trying_again() -> bool:
        return len(await keys()) == 2

    text = "/multi Tried\n- hard = builder (or retry): x [[status=400 fail_times=3 tokens=60 delay=40ms word=second]]"
    kept = await last_of(person, await killed_when(two, person, text, trying_again))
    (hard,) = kept["meta"]["children"]
    assert (hard["state"], [it["state"] for it in hard["earlier"]]) == ("done", ["dead"])
    assert len(await keys()) == 2, "no third one"
