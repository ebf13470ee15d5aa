"""The tools that Nexus brings, called by a model on real runners: sub-agents, reminders, a shell in a box."""

from collections.abc import AsyncIterator

import pytest

from tests.asked import ask, states, tool_directive, tooled
from tests.boxes import needs_boxes
from tests.client import Client
from tests.fakes.models import FakeProvider
from tests.fakes.outside import outside
from tests.runners import Runners
from tests.stores import Stores


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider) -> AsyncIterator[Runners]:
    async with outside() as service, tooled(stores, provider, service, CLUSTER_TERMINAL="true") as running:
        yield running


async def test_a_reminder_a_model_makes_comes_into_its_conversation(two: Runners, person: Client) -> None:
    asked = await ask(person, "soon " + tool_directive("remind", when="soon", text="look"))
    await asked.events()
    assert "in 10 minutes" in await asked.text(), "a refusal shows how it is written"
    assert (await person.http.get("/api/v1/schedules")).json() == []
    asked = await ask(person, "later " + tool_directive("remind", when="in 10 minutes", text="look"))
    await asked.events()
    (made,) = (await person.http.get("/api/v1/schedules")).json()
    assert made["text"] == "look"
    assert made["conversation_id"] == asked.conversation
    assert made["text"] in await asked.text()


@needs_boxes
async def test_a_command_runs_in_a_box_once_its_user_has_allowed_it(person: Client) -> None:
    asked = await ask(person, "run " + tool_directive("terminal_execute", command="pwd;id -u;exit 3"))
    question = await asked.question()
    assert (question["tool"], question["about"]) == ("terminal_execute", 0)
    await asked.answer(question, "allow")
    assert states(await asked.events()) == ["running", "done"]
    assert (await asked.text()).startswith("exit code 3, ")


@needs_boxes
async def test_a_command_nobody_allows_is_not_run(person: Client) -> None:
    asked = await ask(person, "run not " + tool_directive("terminal_execute", command="true"))
    await asked.answer(await asked.question(), "deny")
    assert states(await asked.events()) == ["denied"]
