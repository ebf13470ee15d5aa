"""`/multi?`: a model writes the plan; it is journaled, checked, shown and run like a person's."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from appliance.core.records import TaskState
from tests.boards import Boarded, boarded
from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.multi import answered, ask, calls_of, children_of, last_of, plan_directive
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until

GOOD = ("Here it is:", "1. **facts** = Researcher: Find it", "2. **critic** = Reviewer (after facts): Doubt it")
BAD = ("- facts = wizard: Find it",)


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider) -> AsyncIterator[Boarded[Runners]]:
    """Two runners; the first is primary."""
    async with boarded(stores, provider, 2) as made:
        yield made


async def plans_asked(provider: FakeProvider, goal: str) -> list[str]:
    """The keys of the calls that asked for a plan for this goal."""
    return [
        call["idem_key"]
        for call in await provider.calls()
        if call["message"].startswith(goal)
        and call["message"].endswith(("Write the plan.", "Write the whole plan again."))
    ]


async def test_a_plan_of_a_model_is_shown_as_experimental_and_run(person: Client, provider: FakeProvider) -> None:
    conversation, events = await answered(person, f"/multi? Planned {plan_directive(*GOOD)} [[tokens=3]]")
    plan = next(event for event in events if event["type"] == "plan")
    assert plan["note"].startswith("planned by a model (experimental)")
    assert [(it["id"], it["role"], it["after"]) for it in plan["children"]] == [
        ("facts", "researcher", []), ("critic", "reviewer", ["facts"]),
    ]  # fmt: skip
    assert {child["state"] for child in children_of(events).values()} == {"done"}
    assert events[-1]["type"] == "done"
    kept = await last_of(person, conversation)
    assert "Here it is" not in kept["text"], "the plan is no part of the answer"
    assert kept["meta"]["team_note"] == plan["note"]
    assert len(await plans_asked(provider, "Planned")) == 1


async def test_a_plan_that_cannot_be_carried_out_is_repaired_once(person: Client, provider: FakeProvider) -> None:
    text = f"/multi? Repaired {plan_directive(*BAD)} {plan_directive(*GOOD, name='replan')} [[tokens=3]]"
    _, events = await answered(person, text)
    assert events[-1]["type"] == "done"
    assert set(children_of(events)) == {"facts", "critic"}
    told = [call["message"] for call in await provider.calls() if call["message"].startswith("Repaired")]
    assert any("there is no role 'wizard'" in message for message in told)
    assert len(await plans_asked(provider, "Repaired")) == 2


async def test_a_plan_that_stays_impossible_is_shown_and_nothing_is_begun(person: Client) -> None:
    conversation, events = await answered(person, f"/multi? Hopeless {plan_directive(*BAD)}")
    assert (events[-1]["type"], events[-1]["reason"]) == ("failed", "The model's plan cannot be carried out.")
    text = (await last_of(person, conversation))["text"]
    assert "there is no role 'wizard'" in text
    assert BAD[0] in text
    assert not children_of(events)


async def test_a_wish_without_a_goal_is_refused_before_anything_is_kept(person: Client) -> None:
    conversation = await person.create()
    answer = await person.http.post(f"/api/v1/conversations/{conversation}/messages", json={"text": "/multi?"})
    assert answer.status_code == 400
    assert "needs a goal" in answer.json()["detail"]


async def test_the_limits_of_a_wish_hold_for_the_plan_of_a_model(person: Client, provider: FakeProvider) -> None:
    text = f"/multi? Limited {plan_directive(*GOOD)} [[tokens=9]]\nlimits: tokens=1"
    conversation, _ = await answered(person, text)
    kept = await last_of(person, conversation)
    assert "ended early: its limit of 1 tokens is used up" in kept["meta"]["team_note"]
    assert [child["state"] for child in kept["meta"]["children"]] == ["done", "skipped"]


async def test_killing_the_primary_in_the_middle_asks_for_no_second_plan(
    two: Boarded[Runners], person: Client, provider: FakeProvider
) -> None:
    lines = (
        "- early = researcher: Quick [[tokens=2 word=soon]]",
        "- late = builder (after early): Slow [[tokens=99 delay=40ms word=slow]]",
    )
    conversation, accepted = await ask(person, f"/multi? Survived {plan_directive(*lines)}")
    seen = asyncio.create_task(follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"]))

    async def half_way() -> bool:
        states = {it.state for it in (await two.batches.progress(accepted["turn"])).values()}
        return TaskState.DONE in states and bool(await plans_asked(provider, "Survived"))

    await wait_until(half_way, of="the first result")
    await two.cluster.kill("agent-1", signal.SIGKILL)
    await two.cluster.promote("agent-2")
    events = await seen
    await two.cluster.restart("agent-1")
    assert events[-1]["type"] == "done"
    assert {(child["id"], child["state"]) for child in children_of(events).values()} == {
        ("early", "done"),
        ("late", "done"),
    }
    assert len(await plans_asked(provider, "Survived")) == 1
    assert len({call["idem_key"] for call in await calls_of(provider, "soon")}) == 1
    assert len(await two.batches.progress(accepted["turn"])) == 2, "the same plan, so the same tasks"
