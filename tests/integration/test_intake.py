"""When a runner looks at the queue: on a notice, on a slow poll behind it, and at once when it may claim again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest

from agent_image.runner.commands.commands import Commands
from agent_image.runner.isolation import Isolation
from agent_image.runner.llm.router import build_router
from agent_image.runner.memory.wiring import Memories
from agent_image.runner.multi.orchestration import Team
from agent_image.runner.multi.plan import Limits
from agent_image.runner.tasks.board import Board
from agent_image.runner.tasks.teller import Teller
from agent_image.runner.tools.running import Parts as ToolParts
from agent_image.runner.tools.toolbox import fill
from agent_image.runner.turns.intake import Intake
from agent_image.runner.turns.prompt import Window
from agent_image.runner.turns.rounds import Asking
from agent_image.runner.turns.summaries import Summaries
from agent_image.runner.turns.turn import Parts
from appliance.core.approvals import Approvals
from appliance.core.conversation_events import ConversationEvents
from appliance.core.postgres import Postgres
from appliance.core.records import Turn, User
from appliance.core.redis import Redis
from appliance.core.schedules import Schedules
from appliance.core.task_batches import TaskBatches
from appliance.core.task_ledger import TaskLedger
from appliance.core.task_stream import TaskStream
from appliance.core.working_memory import WorkingMemory
from tests.stores import Stores
from tests.waiting import wait_until

NEVER_S = 3600.0


class Watched(Intake):
    """An intake whose turns are noted instead of run, and which may claim when the test says so."""

    def __init__(self, stores: Stores, redis: Redis, postgres: Postgres) -> None:
        config = stores.settings()
        ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=100)
        batches = TaskBatches(postgres, timeout_s=60, max_queued=100)
        memory = WorkingMemory(redis, postgres, ttl_s=60, window=2048)
        approvals = Approvals(postgres, within_s=60)
        router = build_router(config)
        tools = ToolParts(agent="agent-1", boot="", box=fill((), ()), ledger=ledger, approvals=approvals, timeout_s=9)
        board = Board(redis, batches, Teller(redis, TaskStream(redis), lambda: None), lambda: 1)
        memories = Memories(config, redis, postgres, router, board, lambda: False)
        self.may = False
        self.claimed: list[str] = []
        super().__init__(
            Parts(
                agent="agent-1", boot=str(uuid4()), ledger=ledger, events=ConversationEvents(redis), memory=memory,
                summaries=Summaries(memory, router, window=Window(2048, 9), at=0.5), window=Window(2048, 9),
                asking=Asking(boot="", ledger=ledger, router=router, max_tokens=9, tools=tools), approvals=approvals,
                team=Team(board=board, batches=batches, ledger=ledger, limits=Limits()),
                isolation=Isolation(lambda: 0), recall=memories.recall(ledger, ""),
                commands=Commands(Schedules(postgres, time_zone="UTC"), memories.commands),
            ),
            config, redis, lambda: self.may, lambda: False,
        )  # fmt: skip
        self._poll_s = NEVER_S

    def _start(self, turn: Turn) -> None:
        self.claimed.append(turn.id)


@pytest.fixture
async def intake(stores: Stores) -> AsyncIterator[Watched]:
    config = await stores.with_own_database(redis_key_prefix="tintake:")
    redis, postgres = Redis(config), Postgres(config, application="test")
    await postgres.open()
    made = Watched(stores, redis, postgres)
    await made._parts.ledger.register_boot(made._parts.boot, "agent-1")
    row = await postgres.row("ensure_user", tenant="t", name="ada", role="operator")
    assert row is not None
    user = User(id=str(row["id"]), name="ada", tenant_id="t")
    await made._parts.ledger.accept(user, str(uuid4()), "hello", client_id="1", boot=None, create=True)
    claiming = asyncio.create_task(made.claim_forever())
    yield made
    claiming.cancel()
    with suppress(asyncio.CancelledError):
        await claiming
    await postgres.aclose()
    await redis.aclose()


async def claimed(intake: Watched) -> list[str]:
    return intake.claimed


async def test_who_may_claim_again_does_not_wait_for_the_slow_poll(intake: Watched) -> None:
    await asyncio.sleep(0)
    intake.may = True
    assert len(await wait_until(lambda: claimed(intake), of="the turn")) == 1


async def test_who_could_not_look_tries_again_soon(intake: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, look = [0], intake._claim

    async def fails_once(free: int) -> bool:
        tried[0] += 1
        return await look(free) if tried[0] > 1 else False

    monkeypatch.setattr(intake, "_claim", fails_once)
    intake.may = True
    await wait_until(lambda: claimed(intake), of="the turn")
    assert tried[0] == 2
