"""What MCP servers say, in the words of Nexus; the file that names them."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_image.runner.tools.mcp.entries import Entry, read
from agent_image.runner.tools.mcp.server import next_pause
from agent_image.runner.tools.mcp.servers import McpServers
from agent_image.runner.tools.mcp.translated import Hints, asks_first, effect_of, parameters_of, text_of, tool_name
from agent_image.runner.tools.tool import Call, ToolFailed, make
from agent_image.runner.tools.toolbox import Toolbox
from appliance.core.errors import BadInput, SettingsError
from appliance.core.records import User
from appliance.core.settings import load
from appliance.core.task_ledger import Effect


@pytest.mark.parametrize(
    ("server", "tool", "name"),
    [("files", "read_file", "files_read_file"), ("git-hub", "issues/list.all", "git-hub_issues_list_all"),
     ("f", "größe", "f_gr__e")],
)  # fmt: skip
def test_a_tool_is_named_after_its_server(server: str, tool: str, name: str) -> None:
    assert tool_name(server, tool) == name


def test_long_names_are_cut_and_stay_apart() -> None:
    names = {tool_name("files", "read" * 20 + end) for end in ("a", "b")}
    assert len(names) == 2
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{64}", name) for name in names)


@pytest.mark.parametrize(
    ("hints", "effect", "asks"),
    [
        (Hints(), "side_effecting", True),
        (Hints(reads_only=True), "pure", False),
        (Hints(reads_only=True, destructive=True), "pure", False),
        (Hints(reads_only=False, idempotent=True), "idempotent", False),
        (Hints(idempotent=True, destructive=True), "idempotent", True),
        (Hints(reads_only=False, idempotent=False, destructive=False), "side_effecting", True),
    ],
)
def test_what_a_tool_changes_follows_from_its_hints(hints: Hints, effect: Effect, asks: bool) -> None:
    assert effect_of(hints) == effect
    assert asks_first(hints, approval=True) is asks
    assert asks_first(hints, approval=False) is False


def test_a_schema_without_a_type_becomes_one_of_type_object() -> None:
    assert parameters_of({}) == {"type": "object", "properties": {}}
    assert parameters_of({"type": "object", "required": ["a"]})["required"] == ["a"]


def block(kind: str, **more: Any) -> Any:
    return SimpleNamespace(type=kind, **more)


def test_a_result_is_read_as_text_and_what_is_none_is_named() -> None:
    page = SimpleNamespace(uri="file:///a", text="page")
    content = [block("text", text="one"), block("image", mime_type="image/png"), block("resource", resource=page)]
    link = block("resource_link", name="b", uri="file:///b")
    said = text_of([*content, link, block("resource", resource=SimpleNamespace(uri="file:///c"))], None)
    assert said.splitlines() == [
        "one", "(image, image/png: not text, left out)", "page", "(b: file:///b)", "(file:///c: not text, left out)",
    ]  # fmt: skip
    assert text_of([], {"n": 1}) == '{"n":1}'
    assert text_of([], None) == ""


def test_the_file_is_the_one_that_other_clients_read(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(
        '{"mcpServers": {"files": {"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"A": "b"}},'
        ' "shop": {"command": "shop", "approval": false}}}'
    )
    assert read(str(file)) == {
        "files": Entry("npx", ("-y", "x"), {"A": "b"}), "shop": Entry("shop", approval=False)
    }  # fmt: skip
    assert read("") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", 'truncated; write {"mcpServers"'),
        ("{}", 'missing required field `mcpServers`; write {"mcpServers"'),
        ('{"mcpServers": {"a": {"url": "http://x"}}}', "missing required field `command`"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', "Expected `array`"),
        ('{"mcpServers": {"a": {"command": "x", "approval": "no"}}}', "Expected `bool`"),
        ('{"mcpServers": {"a": {"command": ""}}}', "has no command; name the program"),
        ('{"mcpServers": {"a b": {"command": "x"}}}', "name 'a b' in"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_what_to_change(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match="MCP_SERVERS: .*" + re.escape(sentence)):
        read(str(file))


def test_a_file_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.json cannot be read"):
        read(str(tmp_path / "absent.json"))
    with pytest.raises(SettingsError, match="MCP_SERVERS: write the whole path"):
        load(mcp_servers="mcp.json")


def test_a_server_is_started_again_later_and_later_and_soon_after_a_steady_life() -> None:
    pauses = [pause := 0.0]
    for _ in range(10):
        pauses.append(pause := next_pause(pause, lived_s=1))
    assert pauses[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == 60.0
    assert next_pause(60.0, lived_s=31) == 0.5


async def test_a_tool_whose_server_is_not_there_fails_in_words_and_has_side_effects(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}, "a_b": {"command": "x"}}}')
    servers = McpServers(str(file), timeout_s=0.02)
    box = Toolbox({}, [servers])
    assert box.specs() == ()
    await asyncio.wait_for(box.ready("a_b_c"), 5)
    tool = box.find("a_b_c")
    assert (tool.effect, tool.approval) == ("side_effecting", False), "its call may have been cut off before"
    with pytest.raises(ToolFailed, match=r"server a_b does not run .*; nothing was called"):
        await tool.run(Call("key", User(id="", name=""), "", "", ""), call="x")
    with pytest.raises(BadInput, match="no tool 'b_c'"):
        box.find("b_c")


async def test_where_nobody_can_be_asked_a_tool_that_is_not_there_fails_in_words_as_well(tmp_path: Path) -> None:
    """Else a sub-agent's next attempt would be told that there is no such tool, in place of what came of its call."""
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')
    box = Toolbox({}, [McpServers(str(file), timeout_s=0.02)]).unasked(without="spawn")
    tool = box.find("a_b")
    assert (tool.effect, tool.approval) == ("pure", False), "it calls nothing, and nobody can be asked about it"
    with pytest.raises(ToolFailed, match=r"server a does not run .*; nothing was called"):
        await tool.run(Call("key", User(id="", name=""), "", "", ""), call="x")


async def test_a_tool_that_is_there_and_not_allowed_has_no_stand_in(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')

    async def a_act(_call: Call) -> None:
        """Do something that cannot be undone."""

    acting = make(a_act, "side_effecting")
    box = Toolbox({acting.spec.name: acting}, [McpServers(str(file), timeout_s=0.02)]).unasked(without="spawn")
    with pytest.raises(BadInput, match="no tool 'a_act'"):
        box.find("a_act")


async def test_a_broken_file_leaves_a_runner_without_those_tools(tmp_path: Path) -> None:
    servers = McpServers(str(tmp_path / "absent.json"), timeout_s=1)
    await asyncio.wait_for(servers.run(), 5)
    assert servers.tools() == {}
