"""What ends or journals work carries its attempt; the boot alone is not enough, for it may have claimed twice (7.2)."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from appliance.core.errors import StaleAttempt
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import TaskState, Turn, User
from appliance.core.settings import Settings
from appliance.core.task_ledger import Answer, TaskLedger
from tests.locks import waits_for_a_lock
from tests.waiting import wait_until

Session = psycopg.AsyncConnection[dict[str, Any]]


@pytest.fixture
async def ada(postgres: Postgres) -> User:
    row = await postgres.row("ensure_user", tenant="default", name="ada", role="operator")
    assert row is not None
    return User(id=str(row["id"]), name="ada")


@pytest.fixture
def ledger(postgres: Postgres) -> TaskLedger:
    return TaskLedger(postgres, turn_timeout_s=60, max_queued=100)


@pytest.fixture
async def boot(ledger: TaskLedger) -> str:
    boot = str(uuid4())
    await ledger.register_boot(boot, "agent-t")
    return boot


@pytest.fixture
async def attempts(ledger: TaskLedger, ada: User, boot: str) -> tuple[Turn, Turn]:
    """A turn that its boot lost while it was silent and then claimed again: the attempt before, the current one."""
    first = (await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=boot, create=True)).turn
    assert await ledger.release(boot, turns_only=True) == 1
    [second] = await ledger.claim(boot, 5)
    assert (first.attempt, second.attempt) == (1, 2)
    return first, second


async def test_an_attempt_before_ends_nothing_even_in_the_same_boot(
    ledger: TaskLedger, boot: str, attempts: tuple[Turn, Turn]
) -> None:
    first, second = attempts
    with pytest.raises(StaleAttempt):
        await ledger.end(first, boot, Answer(TaskState.DONE, "late"), agent="agent-t")
    await ledger.end(second, boot, Answer(TaskState.DONE, "answer"), agent="agent-t")


async def test_another_boot_ends_nothing_even_with_the_attempts_number(
    ledger: TaskLedger, attempts: tuple[Turn, Turn]
) -> None:
    other = str(uuid4())
    await ledger.register_boot(other, "agent-u")
    with pytest.raises(StaleAttempt):
        await ledger.end(attempts[1], other, Answer(TaskState.DONE, "foreign"), agent="agent-u")


async def test_a_turn_ends_once(ledger: TaskLedger, boot: str, attempts: tuple[Turn, Turn]) -> None:
    await ledger.end(attempts[1], boot, Answer(TaskState.DONE, "answer"), agent="agent-t")
    with pytest.raises(StaleAttempt):
        await ledger.end(attempts[1], boot, Answer(TaskState.FAILED, "again"), agent="agent-t")


async def test_an_attempt_before_begins_no_step_even_in_the_same_boot(
    ledger: TaskLedger, boot: str, attempts: tuple[Turn, Turn]
) -> None:
    first, second = attempts
    with pytest.raises(StaleAttempt):
        await ledger.begin_step(first, boot, 1, kind="model", name="m", input_text="")
    assert not (await ledger.begin_step(second, boot, 1, kind="model", name="m", input_text="")).done


async def test_an_attempt_before_does_not_queue_the_turn_again(
    ledger: TaskLedger, boot: str, attempts: tuple[Turn, Turn]
) -> None:
    with pytest.raises(StaleAttempt):
        await ledger.retry(attempts[0], boot, reason="late", delay_s=0)
    row = await ledger.turn(attempts[1].id)
    assert row is not None
    assert (row.state, row.fail_count) == (TaskState.RUNNING, 0)


async def test_a_burial_waits_for_a_claim_in_flight(config: Settings, ledger: TaskLedger, ada: User, boot: str) -> None:
    """Else the claim, which has seen its boot alive, would give work to a dead one after the release (7.3)."""
    await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=None, create=True)
    async with await a_session(config) as blocker, asyncio.TaskGroup() as group:
        await blocker.execute("begin")
        await blocker.execute("lock table tasks in share mode")  # the claim stops behind its look at the boot
        claimed = group.create_task(ledger.claim(boot, 5))
        await wait_until(lambda: waits_for_a_lock(config, "claim_turns("), of="the claim's wait")
        buried = group.create_task(ledger.bury(boot, "test"))
        await wait_until(lambda: done_or_waits(buried, config), of="the burial or its wait")
        assert not buried.done()
        await blocker.commit()
    assert len(claimed.result()) == 1
    assert await ledger.release(boot, turns_only=False) == 1


async def a_session(config: Settings) -> Session:
    return await psycopg.AsyncConnection.connect(config.postgres_url, **connection_options(config, "test"))


async def done_or_waits(task: asyncio.Task[Any], config: Settings) -> bool:
    return task.done() or await waits_for_a_lock(config, "bury_boot(")
