"""Tools of MCP servers on real runners: offered, asked for, and in doubt when their server dies (PROTOCOLS 7.2)."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.asked import ask, kill_owner, owner, signed_in, states, tool_directive
from tests.client import Client
from tests.fakes.mcp import acts, children, fake, first_act, freeze, lives, restart, until_dead, until_up, with_servers
from tests.fakes.models import FakeProvider
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider, folder: Path) -> AsyncIterator[Runners]:
    """Two runners, each with servers of its own: some that work, and some that cannot."""
    servers = {
        "shop": fake(folder, "shop", approval=False),
        "bank": fake(folder, "bank"),
        "noisy": fake(folder, "noisy", env={"NOISE": "1"}),
        "dying": fake(folder, "dying", env={"DIES": "1"}),
        "absent": {"command": "no-such-program"},
    }
    async with with_servers(stores, provider, folder, servers, agents=2, CLUSTER_SECRET="s3cret") as running:
        for agent in ("agent-1", "agent-2"):
            await until_up(running, agent, "shop", "bank", "noisy")
        yield running


async def test_tools_of_servers_are_offered_under_their_servers_names(person: Client, provider: FakeProvider) -> None:
    asked = await ask(person, "length " + tool_directive("shop_count", of="abcde"))
    events = await asked.events()
    assert states(events) == ["running", "done"]
    assert await asked.text() == "5"
    first, second = [call for call in await provider.calls() if "length [[tool" in call["message"]]
    offered = {name for name in first["tools"] if name.startswith(("shop", "dying", "absent"))}
    assert offered >= {"shop_count", "shop_put", "shop_act", "shop_refuse", "shop_see"}, "the second page, too"
    assert not {name for name in offered if not name.startswith("shop")}, "those that do not run offer nothing"
    assert second["results"] == ["5"]


async def test_what_a_server_refuses_the_model_reads(person: Client) -> None:
    asked = await ask(person, "refuse " + tool_directive("shop_refuse"))
    assert states(await asked.events()) == ["running", "failed"]
    assert await asked.text() == "It failed: the shop is closed"


async def test_lines_that_are_no_messages_break_nothing(two: Runners, person: Client) -> None:
    asked = await ask(person, "noise " + tool_directive("noisy_count", of="abc"))
    await asked.events()
    assert await asked.text() == "3"
    assert two.log_of("agent-1").count("mcp_noise") == 1


async def test_a_server_sees_nothing_of_the_runners_environment(person: Client) -> None:
    asked = await ask(person, "see " + tool_directive("shop_see"))
    await asked.events()
    seen = set((await asked.text()).split())
    assert "FOLDER" in seen
    assert seen <= {"FOLDER", "PATH", "HOME", "LOGNAME", "SHELL", "TERM", "USER", "LC_CTYPE", "PWD"}


async def test_a_server_that_cannot_start_is_logged_and_its_tools_fail_in_words(two: Runners) -> None:
    async def said() -> bool:
        log = two.log_of("agent-1")
        return "there is no program 'no-such-program' in its PATH" in log and "it ended before it had listed" in log

    await wait_until(said, of="a line for each of them")
    assert (await two.agent("agent-1")).status == "active"


async def test_what_changes_something_asks_first(person: Client, folder: Path) -> None:
    asked = await ask(person, "may I " + tool_directive("bank_act", words="allowed"))
    question = await asked.question()
    assert (question["about"], question["tool"], question["input"]) == (0, "bank_act", {"words": "allowed"})
    assert acts(folder / "bank", "allowed") == []
    await asked.answer(question, "allow")
    assert states(await asked.events()) == ["running", "done"]
    assert len(acts(folder / "bank", "allowed")) == 1


async def test_what_may_be_repeated_is_repeated_when_its_agent_dies(two: Runners, person: Client, folder: Path) -> None:
    asked = await ask(person, "repeat " + tool_directive("shop_put", words="repeated", hold=60))
    await first_act(folder / "shop", "repeated")
    victim = await kill_owner(two, asked)
    assert (await asked.events())[-1]["type"] == "done"
    assert len(acts(folder / "shop", "repeated")) == 2
    await restart(two, victim, "shop")


@pytest.mark.parametrize(
    ("choice", "calls", "sentence"), [("again", 2, "did lost-again"), ("skip", 1, "is not made again")]
)
async def test_a_server_killed_in_the_middle_of_a_call_leaves_its_outcome_unknown(
    person: Client, folder: Path, choice: str, calls: int, sentence: str
) -> None:
    words = f"lost-{choice}"
    asked = await ask(person, "lose " + tool_directive("shop_act", words=words, hold=60))
    os.kill(await first_act(folder / "shop", words), signal.SIGKILL)
    question = await asked.question()
    assert (question["tool"], question["choices"]) == ("shop_act", ["again", "happened", "skip"])
    assert len(acts(folder / "shop", words)) == 1, "nobody repeats it in silence"
    await asked.answer(question, choice)
    assert (await asked.events())[-1]["type"] == "done"
    assert sentence in await asked.text()
    assert len(acts(folder / "shop", words)) == calls


async def test_servers_end_with_their_runner_however_busy_they_are(two: Runners, person: Client, folder: Path) -> None:
    asked = await ask(person, "orphan " + tool_directive("shop_act", words="orphan", hold=60))
    busy = await first_act(folder / "shop", "orphan")
    runner = (await two.agent(await owner(two, asked.turn))).runner_pid
    servers = children(runner, "mcp_server")
    assert busy in servers
    assert len(servers) >= 3
    victim = await kill_owner(two, asked)
    for pid in servers:
        await until_dead(pid)
    question = await asked.question()
    assert question["about"] == 1
    await restart(two, victim, "shop")
    await asked.answer(question, "skip")
    assert (await asked.events())[-1]["type"] == "done"


async def test_a_question_is_asked_though_the_next_agents_server_only_just_starts(
    two: Runners, person: Client, folder: Path
) -> None:
    asked = await ask(person, "fresh " + tool_directive("shop_act", words="fresh", hold=60))
    await first_act(folder / "shop", "fresh")
    for agent in ("agent-1", "agent-2"):
        await two.kill(agent, signal.SIGKILL)
    await two.redis.data.flushdb()  # the dead stand in there as active
    for agent in ("agent-1", "agent-2"):
        await two.restart(agent)
    await two.promote("agent-1")
    question = await asked.question()
    assert (question["tool"], question["about"]) == ("shop_act", 1)
    await asked.answer(question, "skip")
    assert (await asked.events())[-1]["type"] == "done"
    assert len(acts(folder / "shop", "fresh")) == 1


async def test_a_call_waits_for_a_server_that_is_being_started(
    stores: Stores, provider: FakeProvider, tmp_path: Path
) -> None:
    servers = {"shop": fake(tmp_path, "shop", env={"SLOW": "2"})}
    async with with_servers(stores, provider, tmp_path, servers) as one, signed_in(one) as person:
        await until_up(one, "agent-1", "shop")
        asked = await ask(person, "wait " + tool_directive("shop_put", words="slow", hold=60))
        await first_act(tmp_path / "shop", "slow")
        await kill_owner(one, asked)
        await one.restart("agent-1")
        await one.promote("agent-1")
        assert (await asked.events())[-1]["type"] == "done"
        assert await asked.text() == "did slow"


async def test_a_call_waits_for_a_server_that_was_killed_between_two_calls(
    stores: Stores, provider: FakeProvider, tmp_path: Path
) -> None:
    servers = {"shop": fake(tmp_path, "shop", approval=False, env={"SLOW": "1"})}
    async with with_servers(stores, provider, tmp_path, servers) as one, signed_in(one) as person:
        await until_up(one, "agent-1", "shop")
        (idle,) = children((await one.agent("agent-1")).runner_pid, "mcp_server")
        os.kill(idle, signal.SIGKILL)
        await until_dead(idle)
        asked = await ask(person, "later " + tool_directive("shop_act", words="later"))
        assert states(await asked.events()) == ["running", "done"]


async def test_tools_that_come_and_go_while_a_server_runs_are_offered_as_they_are(
    stores: Stores, provider: FakeProvider, tmp_path: Path
) -> None:
    servers = {"shop": fake(tmp_path, "shop")}
    async with with_servers(stores, provider, tmp_path, servers) as one, signed_in(one) as person:
        await until_up(one, "agent-1", "shop")
        asked = await ask(person, "rename " + tool_directive("shop_rename"))
        await asked.events()

        async def renamed() -> bool:
            await (await ask(person, "which [[tokens=1]]")).events()
            offered = [call["tools"] for call in await provider.calls() if "which [[tokens" in call["message"]][-1]
            return "shop_renamed" in offered and "shop_rename" not in offered

        await wait_until(renamed, of="the new list")


async def test_a_server_that_freezes_is_in_doubt_after_the_timeout_and_replaced(
    stores: Stores, provider: FakeProvider, tmp_path: Path
) -> None:
    servers = {"shop": fake(tmp_path, "shop", approval=False)}
    async with with_servers(stores, provider, tmp_path, servers, TOOL_TIMEOUT="1") as one, signed_in(one) as person:
        await until_up(one, "agent-1", "shop")
        (frozen,) = children((await one.agent("agent-1")).runner_pid, "mcp_server")
        freeze(frozen)
        asked = await ask(person, "frozen " + tool_directive("shop_act", words="frozen"))
        question = await asked.question()
        assert question["about"] == 1
        await until_up(one, "agent-1", "shop", times=2)
        assert not lives(frozen)
        await asked.answer(question, "again")
        assert (await asked.events())[-1]["type"] == "done"
        assert await asked.text() == "did frozen"


async def test_a_broken_file_is_said_and_the_agent_serves_without_it(
    stores: Stores, provider: FakeProvider, tmp_path: Path
) -> None:
    async with with_servers(stores, provider, tmp_path, {"a b": {"command": "x"}}) as one, signed_in(one) as person:
        assert "mcp_servers_refused" in one.log_of("agent-1")
        asked = await ask(person, "plain [[tokens=2]]")
        await asked.events()
        assert await asked.text() == "w1 w2"
