"""The ledger's rules on a real PostgreSQL (PROTOCOLS 7)."""

import asyncio
from uuid import uuid4

import pytest

from appliance.core.errors import NotFound, Overloaded, StaleAttempt
from appliance.core.postgres import Postgres
from appliance.core.records import TaskState, User
from appliance.core.task_ledger import Answer, TaskLedger


@pytest.fixture
async def ada(postgres: Postgres) -> User:
    row = await postgres.row("ensure_user", tenant=f"t-{uuid4()}", name="ada", role="operator")
    assert row is not None
    return User(id=str(row["id"]), name="ada", tenant_id=row["tenant_id"])


@pytest.fixture
def ledger(postgres: Postgres) -> TaskLedger:
    return TaskLedger(postgres, turn_timeout_s=60, max_queued=10_000)


async def a_boot(ledger: TaskLedger, agent: str = "agent-t") -> str:
    boot = str(uuid4())
    await ledger.register_boot(boot, agent)
    return boot


async def test_a_message_is_accepted_and_claimed_in_one_step(ledger: TaskLedger, ada: User) -> None:
    boot = await a_boot(ledger)
    accepted = await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=boot, create=True)
    assert (accepted.turn.state, accepted.turn.attempt, accepted.turn.turn_no) == (TaskState.RUNNING, 1, 1)
    row = await ledger.turn(accepted.turn.id)
    assert row is not None
    assert row.owner_boot == boot


async def test_the_same_client_id_is_one_turn(ledger: TaskLedger, ada: User) -> None:
    conversation = str(uuid4())
    first, second = [
        await ledger.accept(ada, conversation, "hello", client_id="same", boot=None, create=True) for _ in range(2)
    ]
    assert first.turn.id == second.turn.id
    assert (first.duplicate, second.duplicate) == (False, True)


async def test_a_second_message_waits_for_the_first_turn_and_is_queued_by_its_end(
    ledger: TaskLedger, ada: User
) -> None:
    boot, conversation = await a_boot(ledger), str(uuid4())
    first = (await ledger.accept(ada, conversation, "one", client_id="1", boot=boot, create=True)).turn
    second = (await ledger.accept(ada, conversation, "two", client_id="2", boot=boot)).turn
    assert second.state is TaskState.WAITING
    await ledger.end(first, boot, Answer(TaskState.DONE, "answer"), agent="agent-t")
    row = await ledger.turn(second.id)
    assert row is not None
    assert (row.state, row.turn_no) == (TaskState.QUEUED, 2)


async def test_two_accepts_on_one_idle_conversation_never_run_both(ledger: TaskLedger, ada: User) -> None:
    boot, conversation = await a_boot(ledger), str(uuid4())
    await ledger.accept(ada, conversation, "zero", client_id="0", boot=None, create=True)
    states = [
        accepted.turn.state
        for accepted in await asyncio.gather(
            *(ledger.accept(ada, conversation, "x", client_id=str(n), boot=boot) for n in range(1, 9))
        )
    ]
    assert states == [TaskState.WAITING] * 8


async def test_a_foreign_conversation_is_unknown(ledger: TaskLedger, postgres: Postgres, ada: User) -> None:
    conversation = str(uuid4())
    await ledger.accept(ada, conversation, "mine", client_id="1", boot=None, create=True)
    row = await postgres.row("ensure_user", tenant=ada.tenant_id, name="eve", role="operator")
    assert row is not None
    eve = User(id=str(row["id"]), name="eve", tenant_id=ada.tenant_id)
    with pytest.raises(NotFound):
        await ledger.accept(eve, conversation, "yours", client_id="1", boot=None, create=True)


async def test_a_dead_boot_claims_nothing(ledger: TaskLedger, ada: User) -> None:
    boot = await a_boot(ledger)
    await ledger.bury(boot, "test")
    turn = (await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=boot, create=True)).turn
    assert turn.state is TaskState.QUEUED
    assert await ledger.claim(boot, 5) == []


async def test_after_a_release_the_old_attempt_can_commit_nothing(ledger: TaskLedger, ada: User) -> None:
    dead, heir = await a_boot(ledger), await a_boot(ledger)
    turn = (await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=dead, create=True)).turn
    await ledger.bury(dead, "test")
    assert await ledger.release(dead, turns_only=False) == 1
    claimed = next(it for it in await ledger.claim(heir, 1000) if it.id == turn.id)
    assert claimed.attempt == 2
    with pytest.raises(StaleAttempt):
        await ledger.end(turn, dead, Answer(TaskState.DONE, "late"), agent="agent-t")
    with pytest.raises(StaleAttempt):
        await ledger.begin_step(turn, dead, 1, kind="model", name="m", input_text="")
    await ledger.end(claimed, heir, Answer(TaskState.DONE, "answer"), agent="agent-u")


async def test_a_step_finished_by_a_dead_attempt_is_replayed_by_the_next(ledger: TaskLedger, ada: User) -> None:
    dead, heir = await a_boot(ledger), await a_boot(ledger)
    turn = (await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=dead, create=True)).turn
    step = await ledger.begin_step(turn, dead, 1, kind="model", name="m", input_text="hello")
    await ledger.release(dead, turns_only=True)
    assert await ledger.finish_step(turn, 1, name="m", result={"text": "paid for"}, tokens=3)
    claimed = next(it for it in await ledger.claim(heir, 1000) if it.id == turn.id)
    again = await ledger.begin_step(claimed, heir, 1, kind="model", name="m", input_text="hello")
    assert (again.done, again.result, again.idem_key) == (True, {"text": "paid for"}, step.idem_key)


async def test_a_step_taken_over_refuses_the_old_attempts_result(ledger: TaskLedger, ada: User) -> None:
    dead, heir = await a_boot(ledger), await a_boot(ledger)
    turn = (await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=dead, create=True)).turn
    await ledger.begin_step(turn, dead, 1, kind="model", name="m", input_text="hello")
    await ledger.release(dead, turns_only=True)
    claimed = next(it for it in await ledger.claim(heir, 1000) if it.id == turn.id)
    await ledger.begin_step(claimed, heir, 1, kind="model", name="m", input_text="hello")
    assert not await ledger.finish_step(turn, 1, name="m", result={"text": "late"}, tokens=3)


async def test_a_full_queue_refuses_with_a_reason(postgres: Postgres, ada: User) -> None:
    ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=1)
    await TaskLedger(postgres, turn_timeout_s=60, max_queued=10_000).accept(
        ada, str(uuid4()), "one", client_id="1", boot=None, create=True
    )
    with pytest.raises(Overloaded, match="try again"):
        await ledger.accept(ada, str(uuid4()), "two", client_id="1", boot=None, create=True)


async def test_cancelling_a_waiting_turn_ends_it_and_a_running_one_is_flagged(ledger: TaskLedger, ada: User) -> None:
    boot, conversation = await a_boot(ledger), str(uuid4())
    first = (await ledger.accept(ada, conversation, "one", client_id="1", boot=boot, create=True)).turn
    second = (await ledger.accept(ada, conversation, "two", client_id="2", boot=boot)).turn
    assert await ledger.cancel(ada, second.id) is TaskState.CANCELLED
    assert await ledger.cancel(ada, first.id) is TaskState.RUNNING
    assert await ledger.cancelled_among([first.id, second.id]) >= {first.id}


async def test_claims_and_a_burial_at_once_never_leave_work_with_a_dead_boot(ledger: TaskLedger, ada: User) -> None:
    for _ in range(5):
        boot = await a_boot(ledger)
        turns = [
            (await ledger.accept(ada, str(uuid4()), "x", client_id="1", boot=None, create=True)).turn for _ in range(4)
        ]

        async def bury_and_release(boot: str = boot) -> None:
            await ledger.bury(boot, "test")
            await ledger.release(boot, turns_only=False)

        await asyncio.gather(*(ledger.claim(boot, 2) for _ in range(4)), bury_and_release())
        rows = [await ledger.turn(turn.id) for turn in turns]
        assert all(row is not None and row.owner_boot != boot for row in rows)
