"""A `/multi` of somebody whose tasks wait already, as many as may: its sub-agents wait, visibly, up to its limit."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent_image.runner.multi.orchestration import HELD
from tests.asked import ask, tool_directive
from tests.boards import Boarded, boarded
from tests.client import Client
from tests.fakes.models import FakeProvider
from tests.multi import answered, calls_of, children_of, last_of
from tests.runners import Runners
from tests.stores import Stores

LIMITS = "limits: 200,000 tokens, 480 s"


@pytest.fixture(scope="module")
async def one(stores: Stores, provider: FakeProvider) -> AsyncIterator[Boarded[Runners]]:
    """A runner with two slots, on which two tasks of a person may wait."""
    async with boarded(stores, provider, 1, slots=2, CLUSTER_MAX_QUEUED_TASKS="2") as made:
        yield made


async def person_of(one: Boarded[Runners], name: str) -> Client:
    _, token = await one.cluster.sign_in(name)
    return Client(one.cluster.url, token)


async def test_sub_agents_begin_when_fewer_tasks_wait_and_meanwhile_that_is_said(
    one: Boarded[Runners], provider: FakeProvider
) -> None:
    person = await person_of(one, "ada")
    before = await one.publish("sleep", 10, by="ada", seconds=0.5)
    conversation, events = await answered(person, "/multi Wait\n- one = builder: Do it [[tokens=2 word=crowded]]")
    told = [(event["type"], event.get("note", "")) for event in events if event["type"] in ("limit", "child")]
    assert told[:3] == [("limit", f"{LIMITS} · {HELD}"), ("limit", LIMITS), ("child", "")], told
    assert children_of(events)["one"]["state"] == "done"
    assert (events[-1]["type"], events[-1]["attempt"]) == ("done", 1), "the attempt waited, it did not crash"
    assert (await last_of(person, conversation))["meta"]["team_note"] == LIMITS
    assert len(await calls_of(provider, "crowded")) == 1
    await one.results(before)
    await person.aclose()


async def test_its_limit_ends_the_wait(one: Boarded[Runners], provider: FakeProvider) -> None:
    person = await person_of(one, "bob")
    before = await one.publish("sleep", 10, by="bob", seconds=2.0)
    text = "/multi Wait\nlimits: seconds=2\n- one = builder: Do it [[tokens=2 word=never]]"
    conversation, events = await asyncio.wait_for(answered(person, text), 20)
    assert events[-1]["type"] == "done"
    kept = await last_of(person, conversation)
    assert kept["text"].startswith("Ended early: its limit of 2 s is used up.")
    assert [child["state"] for child in kept["meta"]["children"]] == ["skipped"]
    assert HELD not in kept["meta"]["team_note"]
    assert not await calls_of(provider, "never")
    await one.results(before)
    await person.aclose()


async def test_a_model_is_told_why_its_sub_agent_cannot_begin(one: Boarded[Runners]) -> None:
    person = await person_of(one, "carol")
    before = await one.publish("sleep", 10, by="carol", seconds=1.0)
    asked = await ask(person, "delegate " + tool_directive("spawn_sub_agent", role="builder", goal="Work"))
    assert (await asked.events())[-1]["type"] == "done"
    assert "It failed: Too many of your tasks are waiting already" in await asked.text()
    await one.results(before)
    await person.aclose()
