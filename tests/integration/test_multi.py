"""`/multi` on real runners: sub-agents are tasks that any agent takes; their results become one answer (DESIGN 9)."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from appliance.core.records import TaskState
from tests.asked import signed_in
from tests.boards import Boarded, boarded
from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.multi import ask, calls_of, children_of
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until

PLAN = """/multi Which store shall we take?
- facts = researcher: Collect facts [[tokens=30 delay=100ms word=fact]]
- needs = researcher: Collect needs [[tokens=30 delay=100ms word=need]]
- critic = reviewer (after facts, needs): Compare them [[tokens=5 word=flaw]]"""


@pytest.fixture(scope="module")
async def three(stores: Stores, provider: FakeProvider) -> AsyncIterator[Boarded[Runners]]:
    """Three runners, each with one slot for tasks; the first is primary."""
    async with boarded(stores, provider, 3, slots=1) as made:
        yield made


@pytest.fixture
async def person(three: Boarded[Runners]) -> AsyncIterator[Client]:
    async with signed_in(three.cluster) as client:
        yield client


async def test_sub_agents_work_on_several_agents_and_their_results_become_one_answer(
    three: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    conversation, accepted = await ask(person, PLAN)
    events = await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])
    plan = next(event for event in events if event["type"] == "plan")
    assert [child["id"] for child in plan["children"]] == ["facts", "needs", "critic"]
    children = children_of(events)
    assert {child["state"] for child in children.values()} == {"done"}
    assert children["facts"]["agent"] != children["needs"]["agent"], "each has one slot"
    assert children["facts"]["text"].startswith("fact1 fact2")
    assert [event["type"] for event in events][-1] == "done"
    asked = [call["message"] for call in await provider.calls() if "Which store shall we take?" in call["message"]]
    assert any("<result of='critic'>\nflaw1" in message for message in asked), "the results are quoted"
    committed = (await person.transcript(conversation))["messages"][-1]
    assert [child["id"] for child in committed["meta"]["children"]] == ["facts", "needs", "critic"]


async def test_the_primary_orchestrates_whoever_was_asked(three: Boarded[Runners], person: Client) -> None:
    primary = await three.cluster.agent("agent-1")
    direct = Client(await three.cluster.direct("agent-2"), person.http.headers["authorization"].removeprefix("Bearer "))
    conversation = await direct.create()
    accepted = await direct.send(conversation, "/multi Go\n- builder: Do it [[tokens=2]]")
    events = await follow_to_the_end(direct, conversation, accepted["turn"], accepted["cursor"])
    await direct.aclose()
    assert events[-1]["agent"] == primary.id


async def test_a_plan_that_cannot_be_is_refused_before_anything_is_kept(person: Client) -> None:
    conversation = await person.create()
    answer = await person.http.post(
        f"/api/v1/conversations/{conversation}/messages", json={"text": "/multi Go\n- wizard: x"}
    )
    assert answer.status_code == 400
    assert "there is no role 'wizard'" in answer.json()["detail"]
    assert (await person.transcript(conversation))["messages"] == []


async def test_a_sub_agent_that_fails_for_good_is_shown_and_the_answer_goes_on_without_it(
    three: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    text = "/multi Go on\n- good = builder: Do it [[tokens=2]]\n- bad = builder: Do not [[status=400 tokens=3]]"
    conversation, accepted = await ask(person, text)
    events = await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])
    children = children_of(events)
    assert (children["good"]["state"], children["bad"]["state"]) == ("done", "dead")
    assert children["bad"]["reason"]
    assert events[-1]["type"] == "done"


async def test_stopping_the_turn_stops_its_sub_agents(
    three: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    text = "/multi Forever\n- long = builder: Talk [[endless delay=20ms word=blah]]"
    conversation, accepted = await ask(person, text)

    async def called() -> list[dict[str, Any]]:
        return await calls_of(provider, "blah")

    await wait_until(called, of="the sub-agent's call")
    await person.http.post(f"/api/v1/conversations/{conversation}/turns/{accepted['turn']}/cancel")

    async def hung_up() -> bool:
        return all(call["aborted"] for call in await called())

    await wait_until(hung_up, of="the end of its call")
    assert len(await called()) == 1


async def test_killing_the_primary_and_a_worker_changes_nothing_but_the_timeline(
    three: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    """What had finished is not asked again; what had not is run by somebody else."""
    text = (
        "/multi Survive\n- early = researcher: Quick [[tokens=2 word=early]]\n"
        "- late = researcher: Slow [[tokens=200 delay=40ms word=late]]\n"
        "- last = reviewer (after early, late): Both [[tokens=2 word=last]]"
    )
    before = len(await provider.calls())
    conversation, accepted = await ask(person, text)
    seen = asyncio.create_task(follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"]))

    async def half_way() -> bool:
        """Whether a result is committed: one that the provider has sent and nobody has kept yet is asked for again."""
        states = {it.state for it in (await three.batches.progress(accepted["turn"])).values()}
        return TaskState.DONE in states and bool(await calls_of(provider, "late"))

    await wait_until(half_way, of="one result, and one on its way")
    row = await three.batches.progress(accepted["turn"])
    worker = next((it.agent for it in row.values() if it.state is TaskState.RUNNING and it.agent), "agent-2")
    for victim in {"agent-1", worker}:
        await three.cluster.kill(victim, signal.SIGKILL)
    heir = next(name for name in ("agent-2", "agent-3") if name != worker)
    await three.cluster.promote(heir)
    events = await seen
    for victim in {"agent-1", worker}:
        await three.cluster.restart(victim)
    assert events[-1]["type"] == "done"
    assert {child["state"] for child in children_of(events).values()} == {"done"}
    finished = Counter(call["idem_key"] for call in (await provider.calls())[before:] if call["finished"])
    assert {count for key, count in finished.items() if key} <= {1}, "nothing that had finished was asked again"
    assert len(await calls_of(provider, "early")) == 1
