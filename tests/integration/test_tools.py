"""Tools on real runners: journaled, replayed, never called twice in silence (PROTOCOLS 7.2, DESIGN 12)."""

import signal

import pytest

from tests.asked import ask, kill_owner, states, tool_directive
from tests.client import Client
from tests.fakes.models import FakeProvider
from tests.fakes.outside import Outside
from tests.runners import Runners
from tests.waiting import wait_until


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
    assert sentence in await asked.text()
    assert len(await service.acts(words)) == calls


async def test_of_forty_calls_under_kills_none_is_made_twice(two: Runners, person: Client, service: Outside) -> None:
    storm = [await ask(person, f"storm {n} " + tool_directive("act", words=f"storm-{n}", hold=1)) for n in range(40)]
    for agent in ("agent-1", "agent-2", "agent-1"):
        await wait_until(lambda: service.acts("storm-0"), of="the first calls")
        await two.kill(agent, signal.SIGKILL)
        await two.restart(agent)
    await two.promote("agent-2")

    async def all_ended() -> bool:
        for asked in storm:
            for question in (await person.transcript(asked.conversation))["questions"]:
                await asked.answer(question, "skip")
        return all(asked.following.done() for asked in storm)

    await wait_until(all_ended, within_s=80, of="the end of all turns")
    assert {(await asked.events())[-1]["type"] for asked in storm} == {"done"}
    assert max([len(await service.acts(f"storm-{n}")) for n in range(40)]) == 1


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
