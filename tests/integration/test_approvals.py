"""What a person is asked: rows that outlive every process, answered once (DESIGN 12)."""

import asyncio
from uuid import UUID, uuid4

from appliance.core.task_acts import TaskActs
from tests.asked import ask, signed_in, states, tool_directive, tooled
from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.fakes.outside import Outside
from tests.runners import Runners
from tests.stores import Stores


async def test_what_needs_approval_is_called_only_when_it_is_allowed(person: Client, service: Outside) -> None:
    asked = await ask(person, "may I " + tool_directive("ask_first", words="allowed"))
    question = await asked.question()
    assert (question["about"], question["input"]) == (0, {"words": "allowed"})
    assert await service.acts("allowed") == []
    await asked.answer(question, "allow")
    events = await asked.events()
    assert states(events) == ["running", "done"]
    assert len(await service.acts("allowed")) == 1


async def test_what_is_denied_is_not_called_and_the_model_knows(person: Client, service: Outside) -> None:
    asked = await ask(person, "may I not " + tool_directive("ask_first", words="denied"))
    await asked.answer(await asked.question(), "deny")
    assert states(await asked.events()) == ["denied"]
    assert "did not allow" in await asked.text()
    assert await service.acts("denied") == []


async def test_the_first_answer_counts_whoever_repeats_or_contradicts_it(person: Client, service: Outside) -> None:
    asked = await ask(person, "twice " + tool_directive("ask_first", words="twice"))
    question = await asked.question()
    answers = await asyncio.gather(*(asked.answer(question, "allow") for _ in range(5)))
    assert {it["answer"] for it in answers} == {"allow"}
    assert (await asked.answer(question, "deny"))["answer"] == "allow"
    await asked.events()
    assert len(await service.acts("twice")) == 1


async def test_an_answer_that_is_none_of_the_choices_is_refused_with_them(person: Client) -> None:
    asked = await ask(person, "odd " + tool_directive("ask_first", words="odd"))
    question = await asked.question()
    assert "allow or deny" in (await asked.answer(question, "again", 400))["detail"]
    assert "allow, deny" in (await asked.answer(question, "maybe", 400))["detail"]
    await asked.answer(question, "deny")
    await asked.events()


async def test_nobody_answers_for_somebody_else(two: Runners, person: Client, service: Outside) -> None:
    asked = await ask(person, "mine " + tool_directive("ask_first", words="mine"))
    question = await asked.question()
    path = f"/api/v1/conversations/{asked.conversation}/questions/{question['id']}"
    async with signed_in(two, "eve") as stranger:
        assert (await stranger.http.post(path, json={"answer": "allow"})).status_code == 404
    assert await service.acts("mine") == []
    await asked.answer(question, "deny")
    await asked.events()


async def test_stopping_a_turn_withdraws_its_question(person: Client, service: Outside) -> None:
    asked = await ask(person, "stop " + tool_directive("ask_first", words="stopped"))
    question = await asked.question()
    await person.http.post(f"/api/v1/conversations/{asked.conversation}/turns/{asked.turn}/cancel")
    assert (await asked.events())[-1]["type"] == "cancelled"
    assert (await asked.answer(question, "allow"))["answer"] == "withdrawn"
    assert await service.acts("stopped") == []


async def test_an_operator_who_cancels_a_turn_withdraws_its_question(two: Runners, person: Client) -> None:
    asked = await ask(person, "operator " + tool_directive("ask_first", words="operator"))
    question = await asked.question()
    done = await TaskActs(two.postgres).one("cancel", UUID(asked.turn), by="root", key=uuid4())
    assert done.done == 1
    assert (await asked.events())[-1]["type"] == "cancelled"
    assert (await asked.answer(question, "allow"))["answer"] == "withdrawn"


async def test_the_next_message_waits_behind_a_question(person: Client) -> None:
    asked = await ask(person, "first " + tool_directive("ask_first", words="first"))
    question = await asked.question()
    later = await person.send(asked.conversation, "behind [[tokens=2]]")
    assert later["state"] == "waiting"
    await asked.answer(question, "deny")
    events = await follow_to_the_end(person, asked.conversation, later["turn"], later["cursor"])
    assert events[-1]["type"] == "done"
    said = [message["turn_no"] for message in (await person.transcript(asked.conversation))["messages"]]
    assert said == [1, 1, 2, 2]


async def test_a_message_taken_back_wakes_nobody_behind_a_question(person: Client) -> None:
    asked = await ask(person, "front " + tool_directive("ask_first", words="front"))
    question = await asked.question()
    second = await person.send(asked.conversation, "taken back [[tokens=2]]")
    third = await person.send(asked.conversation, "stays [[tokens=2]]")
    taken = await person.http.post(f"/api/v1/conversations/{asked.conversation}/turns/{second['turn']}/cancel")
    assert taken.json() == {"state": "cancelled"}
    unfinished = (await person.transcript(asked.conversation))["unfinished"]
    assert [(it["id"], it["state"]) for it in unfinished] == [(asked.turn, "waiting"), (third["turn"], "waiting")]
    await asked.answer(question, "deny")
    events = await follow_to_the_end(person, asked.conversation, third["turn"], third["cursor"])
    assert events[-1]["type"] == "done"


async def test_a_question_nobody_answers_expires_visibly(
    stores: Stores, provider: FakeProvider, service: Outside
) -> None:
    async with tooled(stores, provider, service, 1, APPROVAL_TIMEOUT="0.5") as one, signed_in(one) as person:
        asked = await ask(person, "late " + tool_directive("ask_first", words="late"))
        events = await asked.events()
        assert states(events) == ["denied"]
        assert "in time" in await asked.text()
        assert await service.acts("late") == []
