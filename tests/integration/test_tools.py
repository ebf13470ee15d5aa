"""Tools on real runners: journaled, replayed, never called twice in silence (PROTOCOLS 7.2, DESIGN 12)."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.fakes.outside import Outside, outside
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import wait_until


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Outside]:
    async with outside() as running:
        yield running


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider, service: Outside) -> AsyncIterator[Runners]:
    """Two runners that know the tools of the tests; the first is primary."""
    settings = {"TOOL_MODULES": "tests.fakes.tools", "OUTSIDE_URL": service.url, "APPROVAL_TIMEOUT": "40"}
    async with running_runners(stores, provider, 2, **settings) as running:
        await running.promote("agent-1")
        yield running


@pytest.fixture
async def person(two: Runners) -> AsyncIterator[Client]:
    _, token = await two.sign_in()
    client = Client(two.url, token)
    yield client
    await client.aclose()


def tool_directive(name: str, more: str = "quote", **arguments: Any) -> str:
    return f"[[tool={name}:{json.dumps(arguments, separators=(',', ':'))} {more}]]"


class Asked:
    """A message whose answer calls a tool."""

    def __init__(self, person: Client, conversation: str, accepted: dict[str, Any]) -> None:
        self.person = person
        self.conversation = conversation
        self.turn = accepted["turn"]
        self.following = asyncio.create_task(
            follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])
        )

    async def question(self) -> dict[str, Any]:
        """Wait for what its user is asked."""

        async def there() -> Any:
            return (await self.person.transcript(self.conversation))["questions"]

        return dict((await wait_until(there, of="a question"))[0])

    async def answer(self, question: dict[str, Any], answer: str, status: int = 200) -> dict[str, Any]:
        path = f"/api/v1/conversations/{self.conversation}/questions/{question['id']}"
        said = await self.person.http.post(path, json={"answer": answer})
        assert said.status_code == status, said.text
        return dict(said.json())

    async def events(self) -> list[dict[str, Any]]:
        return await asyncio.wait_for(self.following, 60)

    async def text(self) -> str:
        return str((await self.person.transcript(self.conversation))["messages"][-1]["text"])


async def ask(person: Client, text: str) -> Asked:
    conversation = await person.create()
    return Asked(person, conversation, await person.send(conversation, text))


async def owner(cluster: Runners, turn: str) -> str:
    row = await cluster.postgres.row("turn", task=turn)
    assert row is not None
    boots = {agent.boot: agent.id for agent in (await cluster.view()).agents}
    return boots[str(row["owner_boot"])]


async def kill_owner(cluster: Runners, asked: Asked) -> str:
    victim = await owner(cluster, asked.turn)
    await cluster.kill(victim, signal.SIGKILL)
    return victim


def states(events: list[dict[str, Any]]) -> list[str]:
    return [event["state"] for event in events if event["type"] == "tool"]


async def test_a_model_calls_a_tool_and_answers_with_what_came_of_it(person: Client, provider: FakeProvider) -> None:
    asked = await ask(person, "count " + tool_directive("measure", of="abcde"))
    events = await asked.events()
    assert events[-1]["type"] == "done"
    assert states(events) == ["running", "done"]
    assert await asked.text() == '{"length":5}'
    first, second = [call for call in await provider.calls() if "count [[tool=measure" in call["message"]]
    assert set(first["tools"]) >= {"act", "put", "ask_first", "measure", "spawn_sub_agent"}
    assert second["results"] == ['{"length":5}']
    assert first["idem_key"] != second["idem_key"]


async def test_what_a_tool_was_called_with_and_what_came_of_it_stays_with_the_answer(person: Client) -> None:
    asked = await ask(person, "keep " + tool_directive("measure", of="abc"))
    await asked.events()
    (kept,) = (await person.transcript(asked.conversation))["messages"][-1]["meta"]["tools"]
    assert kept["input"] == {"of": "abc"}
    assert (kept["name"], kept["state"], kept["text"]) == ("measure", "done", '{"length":3}')


@pytest.mark.parametrize(
    ("directive", "sentence"),
    [
        ('[[tool=measure:{"to":"x"} quote]]', "The arguments of measure do not fit"),
        ("[[tool=measure:nonsense quote]]", "The arguments of measure do not fit"),
        ("[[tool=decline:{} quote]]", "It failed: the shop is closed"),
    ],
)
async def test_a_model_is_told_what_was_wrong(person: Client, directive: str, sentence: str) -> None:
    asked = await ask(person, "wrong " + directive)
    events = await asked.events()
    assert events[-1]["type"] == "done"
    assert sentence in await asked.text()
    assert states(events)[-1] == "failed"


async def test_a_model_that_only_calls_tools_is_ended_visibly(person: Client, provider: FakeProvider) -> None:
    asked = await ask(person, "endless " + tool_directive("measure", "rounds=99", of="x"))
    await asked.events()
    assert "8 rounds of tool calls are allowed" in await asked.text()
    assert len([call for call in await provider.calls() if "endless [[tool" in call["message"]]) == 8


async def test_a_finished_call_is_replayed_when_its_agent_dies(
    two: Runners, person: Client, service: Outside, provider: FakeProvider
) -> None:
    asked = await ask(person, "once " + tool_directive("act", "tokens=100 delay=30ms", words="once"))

    async def answering() -> bool:
        return any(
            call["results"] and call["tokens"] > 20
            for call in await provider.calls()
            if "once [[tool" in call["message"]
        )

    await wait_until(answering, of="the answer after the call")
    victim = await kill_owner(two, asked)
    events = await asked.events()
    await two.restart(victim)
    assert events[-1]["type"] == "done"
    assert len(await service.acts("once")) == 1
    told = [(event["type"], event["attempt"]) for event in events if event["type"] != "token"]
    assert {attempt for kind, attempt in told if kind == "tool"} == {1, 2}, told


async def test_an_idempotent_call_that_was_cut_off_is_made_again_with_the_same_key(
    two: Runners, person: Client, service: Outside
) -> None:
    asked = await ask(person, "again " + tool_directive("put", words="again", hold=4))
    await wait_until(lambda: service.acts("again"), of="the call")
    victim = await kill_owner(two, asked)
    events = await asked.events()
    await two.restart(victim)
    assert events[-1]["type"] == "done"
    first, second = await service.acts("again")
    assert first == second == f"{asked.turn}:2"


@pytest.mark.parametrize(
    ("choice", "calls", "sentence"),
    [("again", 2, "did lost-again"), ("happened", 1, "it did happen"), ("skip", 1, "is not made again")],
)
async def test_a_cut_off_call_with_side_effects_asks_and_goes_on_as_told(
    two: Runners, person: Client, service: Outside, choice: str, calls: int, sentence: str
) -> None:
    words = f"lost-{choice}"
    asked = await ask(person, "lose " + tool_directive("act", words=words, hold=2))
    await wait_until(lambda: service.acts(words), of="the call")
    victim = await kill_owner(two, asked)
    question = await asked.question()
    await two.restart(victim)
    assert (question["tool"], question["about"]) == ("act", 1)
    assert question["choices"] == ["again", "happened", "skip"]
    assert len(await service.acts(words)) == 1, "nobody repeats it in silence"
    await asked.answer(question, choice)
    events = await asked.events()
    assert events[-1]["type"] == "done"
    assert "unknown" in states(events)
    assert sentence in await asked.text()
    assert len(await service.acts(words)) == calls


async def test_a_question_outlives_every_agent(two: Runners, person: Client, service: Outside) -> None:
    asked = await ask(person, "outlive " + tool_directive("act", words="outlive", hold=2))
    await wait_until(lambda: service.acts("outlive"), of="the call")
    victim = await kill_owner(two, asked)
    question = await asked.question()
    await two.kill("agent-2" if victim == "agent-1" else "agent-1", signal.SIGKILL)
    await two.redis.data.flushdb()
    for agent in ("agent-1", "agent-2"):
        await two.restart(agent)
    await two.promote("agent-2")
    assert (await asked.question())["id"] == question["id"]
    await asked.answer(question, "happened")
    assert (await asked.events())[-1]["type"] == "done"
    assert len(await service.acts("outlive")) == 1


async def test_a_tool_that_breaks_off_in_its_own_process_asks_as_well(person: Client, service: Outside) -> None:
    asked = await ask(person, "break " + tool_directive("break_off", words="broken"))
    question = await asked.question()
    assert question["about"] == 1
    await asked.answer(question, "skip")
    assert (await asked.events())[-1]["type"] == "done"
    assert len(await service.acts("broken")) == 1


async def test_what_needs_approval_is_called_only_when_it_is_allowed(person: Client, service: Outside) -> None:
    asked = await ask(person, "may I " + tool_directive("ask_first", words="allowed"))
    question = await asked.question()
    assert (question["about"], question["input"]) == (0, {"words": "allowed"})
    assert await service.acts("allowed") == []
    await asked.answer(question, "allow")
    events = await asked.events()
    assert states(events) == ["asked", "running", "done"]
    assert len(await service.acts("allowed")) == 1


async def test_what_is_denied_is_not_called_and_the_model_knows(person: Client, service: Outside) -> None:
    asked = await ask(person, "may I not " + tool_directive("ask_first", words="denied"))
    await asked.answer(await asked.question(), "deny")
    assert states(await asked.events()) == ["asked", "denied"]
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
    _, token = await two.sign_in("eve")
    stranger = Client(two.url, token)
    path = f"/api/v1/conversations/{asked.conversation}/questions/{question['id']}"
    assert (await stranger.http.post(path, json={"answer": "allow"})).status_code == 404
    await stranger.aclose()
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


async def test_the_next_message_waits_behind_a_question(person: Client) -> None:
    asked = await ask(person, "first " + tool_directive("ask_first", words="first"))
    question = await asked.question()
    later = await person.send(asked.conversation, "second [[tokens=2]]")
    assert later["state"] == "waiting"
    await asked.answer(question, "deny")
    events = await follow_to_the_end(person, asked.conversation, later["turn"], later["cursor"])
    assert events[-1]["type"] == "done"
    said = [message["turn_no"] for message in (await person.transcript(asked.conversation))["messages"]]
    assert said == [1, 1, 2, 2]


async def test_a_question_nobody_answers_expires_visibly(
    stores: Stores, provider: FakeProvider, service: Outside
) -> None:
    settings = {"TOOL_MODULES": "tests.fakes.tools", "OUTSIDE_URL": service.url, "APPROVAL_TIMEOUT": "0.5"}
    async with running_runners(stores, provider, 1, **settings) as one:
        await one.promote("agent-1")
        _, token = await one.sign_in()
        person = Client(one.url, token)
        asked = await ask(person, "late " + tool_directive("ask_first", words="late"))
        events = await asked.events()
        assert states(events) == ["asked", "denied"]
        assert "in time" in await asked.text()
        assert await service.acts("late") == []
        await person.aclose()


async def test_a_sub_agent_works_for_a_turn(two: Runners, person: Client) -> None:
    asked = await ask(person, "delegate " + tool_directive("spawn_sub_agent", role="builder", goal="Work"))
    events = await asked.events()
    assert events[-1]["type"] == "done"
    assert await asked.text() == " ".join(f"w{number}" for number in range(1, 13)), "the sub-agent's words, quoted"
    (row,) = await two.postgres.rows("progress_of", parent=asked.turn)
    assert row["state"] == "done"


async def test_a_model_without_tools_answers_without_them(person: Client, provider: FakeProvider) -> None:
    asked = await ask(person, "plain [[tokens=2]]")
    assert (await asked.events())[-1]["type"] == "done"
    assert await asked.text() == "w1 w2"
