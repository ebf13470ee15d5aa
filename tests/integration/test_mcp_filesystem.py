"""The official filesystem server, as its authors publish it: read, write after a yes, in doubt when it is killed."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.asked import Asked, ask, signed_in, states, tool_directive
from tests.client import Client
from tests.fakes.mcp import children, freeze, until_up, with_servers
from tests.fakes.models import FakeProvider
from tests.runners import Runners
from tests.stores import Stores

PACKAGE = "@modelcontextprotocol/server-filesystem"
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")),
    reason="the official MCP server is a Node program: sudo apt-get install -y nodejs npm",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, from its registry; skipped where that cannot be reached."""
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()[-300:]}")
    return folder / "node_modules/.bin/mcp-server-filesystem"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server may read and write."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "poem").write_text("roses")
    return folder


@pytest.fixture(scope="module")
async def one(
    stores: Stores, provider: FakeProvider, installed: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Runners]:
    servers = {"files": {"command": str(installed), "args": [str(shared)]}}
    async with with_servers(stores, provider, tmp_path_factory.mktemp("set"), servers) as running:
        await until_up(running, "agent-1", "files")
        yield running


@pytest.fixture
async def person(one: Runners) -> AsyncIterator[Client]:
    async with signed_in(one) as client:
        yield client


async def running(asked: Asked) -> None:
    """Wait until its call is under way."""
    async for event in asked.person.events(asked.conversation):
        if event["type"] == "tool" and event["state"] == "running":
            return


async def test_a_file_is_read(person: Client, provider: FakeProvider, shared: Path) -> None:
    asked = await ask(person, "read " + tool_directive("files_read_text_file", path=str(shared / "poem")))
    assert states(await asked.events()) == ["running", "done"]
    assert await asked.text() == "roses"
    offered = next(call["tools"] for call in await provider.calls() if "files_read_text_file" in call["message"])
    assert set(offered) >= {"files_list_directory", "files_write_file", "files_move_file", "files_edit_file"}


async def test_a_file_outside_is_refused_by_the_server_and_the_model_knows(person: Client) -> None:
    asked = await ask(person, "outside " + tool_directive("files_read_text_file", path="/etc/passwd"))
    assert states(await asked.events()) == ["running", "failed"]
    assert "Access denied" in await asked.text()


async def test_a_file_is_written_after_a_yes(person: Client, shared: Path) -> None:
    given = {"path": str(shared / "new"), "content": "violets"}
    asked = await ask(person, "write " + tool_directive("files_write_file", **given))
    question = await asked.question()
    assert (question["about"], question["input"]) == (0, given)
    assert not (shared / "new").exists()
    await asked.answer(question, "allow")
    assert states(await asked.events()) == ["running", "done"]
    assert (shared / "new").read_text() == "violets"


async def test_the_server_killed_in_the_middle_of_a_call_leaves_its_outcome_unknown(
    one: Runners, person: Client, shared: Path
) -> None:
    (server,) = children((await one.agent("agent-1")).runner_pid, "server-filesystem")
    given = {"source": str(shared / "poem"), "destination": str(shared / "moved")}
    asked = await ask(person, "move " + tool_directive("files_move_file", **given))
    question = await asked.question()
    freeze(server)
    await asked.answer(question, "allow")
    await asyncio.wait_for(running(asked), 30)
    os.kill(server, signal.SIGKILL)

    question = await asked.question()
    assert (question["tool"], question["choices"]) == ("files_move_file", ["again", "happened", "skip"])
    assert (shared / "poem").exists()
    await until_up(one, "agent-1", "files", times=2)
    await asked.answer(question, "again")
    events = await asked.events()
    assert (events[-1]["type"], states(events)[-1]) == ("done", "done")
    assert (shared / "moved").read_text() == "roses"
