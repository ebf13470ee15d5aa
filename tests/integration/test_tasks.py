"""Distributed tasks on real runners: published, taken, run, committed, awaited; and what happens when somebody dies."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from agent_image.runner.tasks.board import share_of
from appliance.core.clock import monotonic
from appliance.core.records import TaskState
from appliance.core.task_batches import Wanted
from tests.boards import Boarded, boarded
from tests.fakes.models import FakeProvider
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until

SLOTS = 8
"""Of both."""


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider) -> AsyncIterator[Boarded[Runners]]:
    """Two runners with four slots each."""
    async with boarded(stores, provider, 2, slots=SLOTS // 2, TASK_TIMEOUT="3", CLUSTER_DRAIN_TIMEOUT="1") as made:
        yield made


async def test_what_is_published_is_run_by_whoever_is_free_and_its_results_come_back(two: Boarded[Runners]) -> None:
    found = await two.results(await two.publish("where", 40))
    assert {it.state for it in found} == {TaskState.DONE}
    assert len({it.result["pid"] for it in found if it.result}) == 2, "both took part"
    assert {it.result["attempt"] for it in found if it.result} == {1}


async def test_a_result_is_found_by_who_asks_later_and_by_many(two: Boarded[Runners]) -> None:
    ids = await two.publish("nothing", 3, what="it")
    first = await two.results(ids)
    again, others = await asyncio.gather(two.results(ids), two.results(ids))
    assert [(it.state, it.result) for it in first] == [(it.state, it.result) for it in again]
    assert again == others
    assert first[0].result == {"what": "it"}


async def test_a_task_that_fails_is_tried_again(two: Boarded[Runners]) -> None:
    [found] = await two.results(await two.publish("fail", times=1))
    assert (found.state, found.result) == (TaskState.DONE, {"attempt": 2})


async def test_the_third_failure_is_the_last_and_says_why(two: Boarded[Runners]) -> None:
    [found] = await two.results(await two.publish("fail", times=9))
    assert (found.state, found.reason) == (TaskState.DEAD, "ValueError('failed 3 times')")


async def test_a_kind_nobody_knows_is_dead_with_those_there_are(two: Boarded[Runners]) -> None:
    [found] = await two.results(await two.publish("dance"))
    assert found.state is TaskState.DEAD
    assert "knows no tasks of kind 'dance'; it knows: effect, fail," in found.reason


async def test_who_has_one_task_does_not_wait_for_who_has_many(two: Boarded[Runners]) -> None:
    """Less than three lengths of a task, however many the other has."""
    many = await two.publish("where", 100, by="bob", seconds=0.5)
    began = time.monotonic()
    await two.results(await two.publish("where", by="ada", seconds=0.5))
    waited_s = time.monotonic() - began - 0.5
    assert waited_s < 3 * 0.5 * 2, "three lengths, and as much for a busy machine"
    assert {it.state for it in await two.results(many)} == {TaskState.DONE}


async def test_who_comes_next_is_in_the_next_wave_of_ends(two: Boarded[Runners]) -> None:
    """Fewer rows of somebody else's stand before it than there are slots: Redis knows of half as many."""
    many = await two.publish("sleep", 60, by="bob", seconds=0.7)

    async def full() -> bool:
        query = "select count(*) filter (where state = 'running') as run, count(*) filter (where state = 'queued' and "
        query += "dispatched_gen is not null) as told from tasks where id = any(%s)"
        async with two.cluster.sql() as sql:
            row = await (await sql.execute(query.encode(), [list(many)])).fetchone()
        return row is not None and row["run"] == SLOTS and row["told"] >= share_of(SLOTS)

    await wait_until(full, of="full slots, and rows behind them")
    [one] = await two.publish("where", by="ada", seconds=0.01)
    await two.results((one,))
    query = "select count(*) as n from tasks o, tasks t where o.id = %s and t.id = any(%s) and t.claimed_at between "
    query += "o.created_at and o.claimed_at"
    async with two.cluster.sql() as sql:
        row = await (await sql.execute(query.encode(), [one, list(many)])).fetchone()
    assert row is not None
    assert row["n"] < SLOTS, "it missed the first wave"
    await two.results(many)


async def test_a_task_whose_runner_is_killed_runs_elsewhere_and_ends_once(two: Boarded[Runners]) -> None:
    """F21."""
    ids = await two.publish("sleep", 8, seconds=2)

    async def all_run() -> bool:
        async with two.cluster.sql() as sql:
            row = await (await sql.execute("select count(*) as n from tasks where state = 'running'")).fetchone()
        return row is not None and row["n"] == 8

    await wait_until(all_run, of="eight running tasks")
    await two.cluster.kill("agent-2", signal.SIGKILL)
    found = await two.results(ids)
    await two.cluster.restart("agent-2")
    assert {it.state for it in found} == {TaskState.DONE}
    assert sorted(it.result["attempt"] for it in found if it.result) == [1] * 4 + [2] * 4


@pytest.mark.parametrize("place", ["after_claim_before_ack", "after_commit_before_told"])
async def test_a_runner_that_dies_between_two_steps_loses_nothing_and_doubles_nothing(
    two: Boarded[Runners], place: str
) -> None:
    """F23: the entry of a claimed row is dropped later, the end of a task nobody was told of is found."""
    two.cluster.start_agent("agent-3", NEXUS_FAILPOINTS=f"{place}:kill")

    async def dead() -> bool:
        ids = await two.publish("where", 12, seconds=0.01)
        assert {it.state for it in await two.results(ids)} == {TaskState.DONE}
        return "agent-3" not in two.cluster.keepers()

    await wait_until(dead, of="the end of agent-3 at its failpoint")

    async def nothing_left() -> bool:
        async with two.cluster.sql() as sql:
            query = "select count(*) as n from tasks where state in ('queued', 'running') and kind = 'where'"
            row = await (await sql.execute(query)).fetchone()
        marks = await two.redis.data.hlen(two.redis.keys.tasks_queued)
        return row is not None and row["n"] == 0 and marks == 0

    await wait_until(nothing_left, of="a ledger and streams that are empty (I9)")


async def test_a_redis_that_lost_everything_loses_no_task(two: Boarded[Runners]) -> None:
    """F35."""
    ids = await two.publish("where", 200, seconds=0.02)
    await two.redis.data.flushall()
    found = await two.results(ids)
    assert {it.state for it in found} == {TaskState.DONE}
    assert {it.result["attempt"] for it in found if it.result} == {1}, "what ran went on"


async def test_a_task_whose_entry_was_lost_is_told_of_again_within_6_s(two: Boarded[Runners]) -> None:
    """F24: the row is stamped as told, and nobody will ever read of it."""
    for page in two.cluster.pages.values():
        page.brake_deadline = monotonic() + 1.5  # nobody reads before it is gone
    [id_] = await two.publish("nothing")
    began = monotonic()
    assert await two.redis.data.delete(two.redis.keys.tasks("normal"), two.redis.keys.tasks_queued) == 2
    await two.results((id_,))
    assert monotonic() - began < 6 + 2, "six seconds, and something for a busy machine"


async def test_an_agent_that_leaves_hands_its_tasks_back_and_nobody_counts_that_as_a_failure(
    two: Boarded[Runners],
) -> None:
    ids = await two.publish("sleep", 8, seconds=2.5)
    await two.cluster.terminate("agent-2")
    found = await two.results(ids)
    await two.cluster.restart("agent-2")
    assert {it.state for it in found} == {TaskState.DONE}
    async with two.cluster.sql() as sql:
        query = "select sum(fail_count) as failed from tasks where id = any(%s)"
        row = await (await sql.execute(query, [list(ids)])).fetchone()
    assert row is not None
    assert row["failed"] == 0


async def test_an_agent_whose_runners_died_leaves_tasks_to_the_others_for_a_while(two: Boarded[Runners]) -> None:
    """PROTOCOLS 7.6: what its keeper writes after the third death within a minute."""
    agent = await two.cluster.agent("agent-2")
    two.cluster.pages["agent-2"].brake_deadline = monotonic() + 2
    await two.results(await two.publish("nothing"))  # a read that was under way has ended
    found = await two.results(await two.publish("where", 12))
    assert agent.runner_pid not in {it.result["pid"] for it in found if it.result}

    async def works_again() -> bool:
        found = await two.results(await two.publish("where", 12))
        return agent.runner_pid in {it.result["pid"] for it in found if it.result}

    await wait_until(works_again, of="tasks on agent-2")


async def test_who_read_tasks_and_died_is_forgotten_by_redis_too(two: Boarded[Runners]) -> None:
    stream = two.redis.keys.tasks("normal")
    gone = (await two.cluster.agent("agent-2")).boot

    async def readers() -> set[str]:
        return {it["name"] for it in await two.redis.data.xinfo_consumers(stream, "agents")}

    async def has_read() -> bool:
        await two.results(await two.publish("where", 12))
        return gone in await readers()

    await wait_until(has_read, of="agent-2 among the readers")
    await two.cluster.kill("agent-2", signal.SIGKILL)
    await two.cluster.restart("agent-2")

    async def forgotten() -> bool:
        return gone not in await readers()

    await wait_until(forgotten, of="the end of a reader that died")


async def test_a_delayed_task_is_run_when_it_is_due(two: Boarded[Runners]) -> None:
    began = time.monotonic()
    await two.results(await two.publish_all("ada", [Wanted("nothing", delay_s=1.5)]))
    assert time.monotonic() - began >= 1.5


async def test_a_task_that_takes_too_long_is_ended_and_tried_again(two: Boarded[Runners]) -> None:
    [id_] = await two.publish("sleep", seconds=30)

    async def failed() -> bool:
        async with two.cluster.sql() as sql:
            row = await (await sql.execute("select fail_count, reason from tasks where id = %s", [id_])).fetchone()
        return row is not None and row["fail_count"] == 1 and "longer than a task may" in row["reason"]

    await wait_until(failed, of="a failed try")
