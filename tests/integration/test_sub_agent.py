"""One sub-agent's task: a journaled model call, made once however often the task is tried."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from agent_image.runner.llm import ToolSpec
from agent_image.runner.llm.openai import OpenAIClient
from agent_image.runner.llm.router import Router
from agent_image.runner.multi.spawn import spawner
from agent_image.runner.multi.sub_agent import KIND, SPAWN, SubAgent
from agent_image.runner.tools import Call, Tool, make
from agent_image.runner.tools.mcp.servers import McpServers
from agent_image.runner.tools.running import Parts as ToolParts
from agent_image.runner.tools.toolbox import Toolbox
from agent_image.runner.turns.rounds import Asking
from appliance.core.approvals import Approvals
from appliance.core.errors import BadInput, StaleAttempt
from appliance.core.postgres import Postgres
from appliance.core.records import Task, User
from appliance.core.task_acts import TaskActs
from appliance.core.task_batches import TRIES, TaskBatches, Wanted
from appliance.core.task_ledger import Effect, TaskLedger
from tests.fakes.models import FakeProvider
from tests.stores import Stores
from tests.waiting import wait_until

counted: list[str] = []
"""The key of every call of the tool `count`."""


async def count(call: Call, of: str) -> int:
    """Count characters."""
    counted.append(call.key)
    return len(of)


def _refused(name: str, effect: Effect, *, approval: bool = False) -> Tool:
    async def refuse(call: Call) -> str:
        """Not to be called."""
        raise AssertionError

    refuse.__name__ = name
    return make(refuse, effect, approval=approval)


BOX = Toolbox(
    {
        it.spec.name: it
        for it in (
            make(count, "pure"),
            _refused("ask_first", "pure", approval=True),
            _refused("act", "side_effecting"),
            _refused(SPAWN, "idempotent"),
        )
    }
)
"""What a runner has: a tool that sub-agents may use, and three that they may not."""

SHOP_COUNT = ToolSpec("shop_count", "Count characters.", make(count, "pure").spec.parameters)


class Desk:
    """The ledger with one published sub-agent, and agents that take it."""

    def __init__(self, stores: Stores, postgres: Postgres, provider: FakeProvider) -> None:
        config = stores.settings(model_url=f"{provider.url}/v1")
        self.postgres = postgres
        self.ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=10)
        self.batches = TaskBatches(postgres, timeout_s=60, max_queued=10)
        self.router = Router([OpenAIClient(config.model_url, config, model="fake")], max_chars=10_000)

    async def publish(self, goal: str) -> str:
        row = await self.postgres.row("ensure_user", tenant="t", name="ada", role="operator")
        assert row is not None
        payload = {"role": "builder", "goal": goal, "question": "What?", "inputs": {"facts": "they are few"}}
        published = await self.batches.submit(
            User(id=str(row["id"]), name="ada", tenant_id="t"), [Wanted(KIND, payload)], generation=None, share=1
        )
        return published.ids[0]

    async def take(self, id_: str, box: Toolbox = BOX) -> tuple[SubAgent, Task, str]:
        """Claim it for a new boot with these tools; return that boot's agent, the attempt and the boot."""
        boot = str(uuid4())
        await self.ledger.register_boot(boot, "agent-1")
        [task] = (await self.batches.claim(boot, [id_])).tasks
        tools = ToolParts(
            agent="agent-1", boot=boot, box=box, ledger=self.ledger, timeout_s=9,
            approvals=Approvals(self.postgres, within_s=60),
        )  # fmt: skip
        asking = Asking(boot=boot, ledger=self.ledger, router=self.router, max_tokens=20, tools=tools)
        return SubAgent("agent-1", asking), task, boot


@pytest.fixture
async def desk(stores: Stores, postgres: Postgres, provider: FakeProvider) -> AsyncIterator[Desk]:
    counted.clear()
    made = Desk(stores, postgres, provider)
    yield made
    await made.router.aclose()


async def test_a_call_that_an_earlier_attempt_finished_is_replayed(desk: Desk, provider: FakeProvider) -> None:
    id_ = await desk.publish("Build it [[tokens=3 word=replayed]]")
    agent, first, boot = await desk.take(id_)
    result = await agent(first)
    assert result["text"] == "replayed1 replayed2 replayed3"
    await desk.ledger.bury(boot, "it died before its commit")
    await desk.ledger.release(boot, turns_only=False)
    agent, second, _ = await desk.take(id_)
    assert second.attempt == 2
    assert await agent(second) == result
    calls = [call for call in await provider.calls() if "word=replayed" in call["message"]]
    assert [call["idem_key"] for call in calls] == [f"{id_}:1"]
    assert "<result of='facts'>\nthey are few" in calls[0]["message"]


async def test_an_attempt_that_lost_its_task_makes_no_call(desk: Desk, provider: FakeProvider) -> None:
    id_ = await desk.publish("Build it [[word=never]]")
    agent, first, boot = await desk.take(id_)
    await desk.ledger.release(boot, turns_only=False)
    with pytest.raises(StaleAttempt):
        await agent(first)
    assert not [call for call in await provider.calls() if "word=never" in call["message"]]


async def test_a_sub_agent_calls_tools_that_ask_nobody_and_a_finished_call_is_replayed(
    desk: Desk, provider: FakeProvider
) -> None:
    id_ = await desk.publish('Count it [[tool=count:{"of":"abcd"} quote]]')
    agent, first, boot = await desk.take(id_)
    result = await agent(first)
    assert result["text"] == "4"
    await desk.ledger.bury(boot, "it died before its commit")
    await desk.ledger.release(boot, turns_only=False)
    agent, second, _ = await desk.take(id_)
    assert await agent(second) == result
    assert counted == [f"{id_}:2"], "the second attempt called nothing"
    calls = [call for call in await provider.calls() if "Count it [[tool" in call["message"]]
    assert [call["idem_key"] for call in calls] == [f"{id_}:1", f"{id_}:3"]
    assert {tuple(call["tools"]) for call in calls} == {("count",)}, "nobody can be asked, and it makes no others"


async def test_a_finished_call_is_replayed_where_the_server_of_its_tool_does_not_run(
    desk: Desk, provider: FakeProvider, tmp_path: Path
) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"shop": {"command": "x"}}}')
    there = Toolbox({"shop_count": msgspec.structs.replace(make(count, "pure"), spec=SHOP_COUNT)})
    away = Toolbox({}, [McpServers(str(tmp_path / "mcp.json"), timeout_s=0.02)])
    id_ = await desk.publish('Ask the shop [[tool=shop_count:{"of":"abcde"} quote first=1s]]')
    agent, first, boot = await desk.take(id_, there)
    working = asyncio.create_task(agent(first))

    async def called() -> bool:
        return any(call["results"] == ["5"] for call in await provider.calls() if "Ask the shop" in call["message"])

    await wait_until(called, of="the model that is told what came of the call")
    working.cancel()
    await asyncio.wait([working])
    await desk.ledger.bury(boot, "it died before its answer")
    await desk.ledger.release(boot, turns_only=False)
    agent, second, _ = await desk.take(id_, away)
    assert (await agent(second))["text"] == "5"


async def test_a_changed_payload_is_asked_under_another_key(desk: Desk, provider: FakeProvider) -> None:
    """Who is called knows the old key, and would answer with what was asked before."""
    id_ = await desk.publish("Build it [[tokens=1 word=edited]]")
    agent, first, boot = await desk.take(id_)
    await agent(first)
    for _ in range(TRIES):
        await desk.batches.fail(first, boot, reason="no", delay_s=0)
        [first] = (await desk.batches.claim(boot, [id_])).tasks or [first]
    payload = json.dumps(first.payload | {"goal": "Build another [[tokens=1 word=edited]]"})
    await TaskActs(desk.postgres).one("requeue", UUID(id_), by="olga", key=uuid4(), payload=payload)
    agent, second, _ = await desk.take(id_)
    assert second.edits == 1
    await agent(second)
    calls = [call for call in await provider.calls() if "word=edited" in call["message"]]
    assert [call["idem_key"] for call in calls] == [f"{id_}:1", f"{id_}:edit-1:1"]


@pytest.mark.parametrize("name", ["ask_first", "act", "spawn_sub_agent"])
def test_a_sub_agent_cannot_call_what_it_is_not_offered(name: str) -> None:
    with pytest.raises(BadInput, match=f"There is no tool '{name}'; there are: count"):
        BOX.unasked(without=SPAWN).find(name)


async def test_a_spawned_sub_agent_is_found_by_the_name_that_is_left_out() -> None:
    assert spawner(None, within_s=1).spec.name == SPAWN  # type: ignore[arg-type]
