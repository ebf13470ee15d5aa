"""An epoch is born in PostgreSQL and nowhere else, and what its holder writes carries it (PROTOCOLS 6.2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from appliance.core.election import Election
from appliance.core.errors import StaleAttempt, StaleEpoch
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import TaskState, User
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.task_ledger import Answer, TaskLedger
from tests.locks import waits_for_a_lock
from tests.waiting import wait_until

Session = psycopg.AsyncConnection[dict[str, Any]]


@pytest.fixture
async def election(config: Settings, postgres: Postgres) -> AsyncIterator[Election]:
    redis = Redis(config)
    yield Election(redis, postgres)
    await redis.aclose()


@pytest.fixture
def ledger(postgres: Postgres) -> TaskLedger:
    return TaskLedger(postgres, turn_timeout_s=60, max_queued=100)


@asynccontextmanager
async def a_session(config: Settings) -> AsyncIterator[Session]:
    """Yield a session that nothing ends by itself, in a transaction."""
    options = connection_options(config, "test") | {"options": "-c idle_in_transaction_session_timeout=0"}
    connection: Session = await psycopg.AsyncConnection.connect(config.postgres_url, **options)
    try:
        await connection.execute("begin")
        yield connection
    finally:
        await connection.close()


async def a_boot(postgres: Postgres, agent: str = "agent-t") -> str:
    boot = str(uuid4())
    await postgres.rows("register_boot", boot=boot, agent=agent)
    return boot


async def elected(postgres: Postgres, election: Election, agent: str, voted: int) -> str:
    """Make `agent` primary of the next epoch; return its boot."""
    boot = await a_boot(postgres, agent)
    assert await election.elect(agent, boot, voted=voted, evidence={"kind": "lease"}) == voted + 1
    return boot


async def refused_by(config: Settings, boot: str) -> list[tuple[str, str]]:
    async with a_session(config) as session:
        cursor = await session.execute("select fence, what from refusals where boot = %s order by id", [boot])
        return [(row["fence"], row["what"]) for row in await cursor.fetchall()]


async def set_elected_s_ago(config: Settings, seconds: float) -> None:
    async with a_session(config) as session:
        await session.execute(
            "update cluster_epoch set elected_at = clock_timestamp() - make_interval(secs => %s)", [seconds]
        )
        await session.commit()


# The compare-and-set --------------------------------------------------------------------------------------------------


async def test_of_candidates_at_the_same_moment_one_wins(postgres: Postgres, election: Election) -> None:
    boots = {agent: await a_boot(postgres, agent) for agent in ("a", "b", "c", "d")}
    won = await asyncio.gather(*(election.elect(agent, boot, voted=0, evidence={}) for agent, boot in boots.items()))
    assert sorted(epoch or 0 for epoch in won) == [0, 0, 0, 1]
    term = await election.current()
    assert (term.number, term.boot) == (1, boots[str(term.primary_id)])
    assert won[list(boots).index(str(term.primary_id))] == 1


async def test_a_late_candidate_cannot_depose_the_winner(postgres: Postgres, election: Election) -> None:
    winner = await elected(postgres, election, "a", 0)
    assert await election.elect("b", await a_boot(postgres), voted=0, evidence={}) is None
    assert (await election.current()).boot == winner


async def test_a_winner_has_a_second_to_serve_and_then_the_same_votes_elect_the_next(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    await elected(postgres, election, "a", 0)
    heir = await a_boot(postgres)
    await set_elected_s_ago(config, 0.5)
    assert await election.elect("b", heir, voted=0, evidence={}) is None
    await set_elected_s_ago(config, 1.01)
    assert await election.elect("b", heir, voted=0, evidence={}) == 2
    assert (await election.current()).boot == heir


async def test_however_late_a_candidate_cannot_depose_a_winner_that_serves(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    winner = await elected(postgres, election, "a", 0)
    await election.record_promotion(1, winner, elect_ms=1, promote_ms=1)
    await set_elected_s_ago(config, 60)
    assert await election.elect("b", await a_boot(postgres), voted=0, evidence={}) is None
    assert await election.elect("b", await a_boot(postgres), voted=1, evidence={}) == 2


async def test_votes_for_an_epoch_that_is_not_there_yet_elect_nobody(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    await elected(postgres, election, "a", 0)
    await set_elected_s_ago(config, 60)
    assert await election.elect("b", await a_boot(postgres), voted=5, evidence={}) is None


async def test_a_boot_that_was_buried_cannot_be_elected(
    postgres: Postgres, election: Election, ledger: TaskLedger
) -> None:
    boot = await a_boot(postgres)
    await ledger.bury(boot, "test")
    assert await election.elect("a", boot, voted=0, evidence={}) is None
    assert (await election.current()).number == 0


async def test_each_epoch_leaves_one_row_of_history(config: Settings, postgres: Postgres, election: Election) -> None:
    boots = [await elected(postgres, election, agent, epoch) for epoch, agent in enumerate(["a", "b", "c"])]
    await election.elect("d", await a_boot(postgres), voted=0, evidence={})
    async with a_session(config) as session:
        rows = await (await session.execute("select epoch, old_boot, new_boot from failovers order by 1")).fetchall()
    assert [(row["epoch"], str(row["new_boot"])) for row in rows] == list(enumerate(boots, 1))
    assert [row["old_boot"] and str(row["old_boot"]) for row in rows] == [None, *boots[:2]]


async def test_a_keeper_is_told_its_own_death_the_holders_and_the_pause(
    postgres: Postgres, election: Election, ledger: TaskLedger
) -> None:
    assert not (await election.standing("")).holder_lives
    holder = await elected(postgres, election, "a", 0)
    before = await election.standing(holder)
    assert (before.i_am_dead, before.holder_lives, before.paused_by) == (False, True, None)
    await ledger.bury(holder, "test")
    await postgres.rows("pause_failover", by="ada", trace="")
    after = await election.standing(holder)
    assert (after.i_am_dead, after.holder_lives, after.paused_by) == (True, False, "ada")


# The fence ------------------------------------------------------------------------------------------------------------


async def test_an_election_waits_for_a_fenced_write_in_flight(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    """A write that has passed the fence must not be committed after a later epoch was born (invariant I2)."""
    old = await elected(postgres, election, "a", 0)
    heir = await a_boot(postgres)
    async with a_session(config) as writer:
        await writer.execute("select fenced(1, %s, 'test')", [old])
        bump = asyncio.create_task(election.elect("b", heir, voted=1, evidence={}))
        await wait_until(lambda: settled(bump, config, "elect("), of="the election or its wait")
        assert not bump.done(), "an epoch was born while a fenced write was in flight"
        await writer.commit()
    assert await bump == 2


async def settled(task: "asyncio.Task[Any]", config: Settings, call: str) -> bool:
    return task.done() or await waits_for_a_lock(config, call)


async def test_no_later_write_overtakes_an_election_that_waits(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    """Without the fair queue of the table lock, a stream of fenced writes would hold an election up for seconds."""
    old = await elected(postgres, election, "a", 0)
    heir = await a_boot(postgres)
    async with a_session(config) as writer, a_session(config) as later:
        await writer.execute("select fenced(1, %s, 'test')", [old])
        bump = asyncio.create_task(election.elect("b", heir, voted=1, evidence={}))
        await wait_until(lambda: settled(bump, config, "elect("), of="the election's wait")
        second = asyncio.create_task(later.execute("select fenced(1, %s, 'later') as passed", [old]))
        await wait_until(lambda: settled(second, config, "fenced("), of="the later write or its wait")
        await writer.commit()
        row = await (await second).fetchone()
        await later.commit()
    assert row == {"passed": False}
    assert await bump == 2


async def test_a_session_of_ours_that_stops_behind_the_fence_is_ended_by_postgresql(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    old = await elected(postgres, election, "a", 0)
    options = connection_options(config, "stopped") | {"autocommit": False}
    stopped = await psycopg.AsyncConnection.connect(config.postgres_url, **options)
    await stopped.execute("select fenced(1, %s, 'test')", [old])

    async def ended() -> bool:
        async with a_session(config) as session:
            cursor = await session.execute("select 1 from pg_stat_activity where application_name = 'stopped'")
            return await cursor.fetchone() is None

    await wait_until(ended, within_s=10, of="the end of the stopped session")
    await stopped.close()


async def test_a_foreign_session_that_stops_behind_the_fence_is_ended_by_the_candidate(
    config: Settings, postgres: Postgres, election: Election
) -> None:
    old = await elected(postgres, election, "a", 0)
    async with a_session(config) as stopped:
        await stopped.execute("select fenced(1, %s, 'test')", [old])
        async with asyncio.timeout(4):  # one lock time-out, not several
            assert await election.elect("b", await a_boot(postgres), voted=1, evidence={}) == 2
        with pytest.raises(psycopg.OperationalError):
            await stopped.execute("commit")


async def test_what_a_deposed_primary_writes_is_refused_and_written_down(
    config: Settings, postgres: Postgres, election: Election, ledger: TaskLedger
) -> None:
    old = await elected(postgres, election, "a", 0)
    await ledger.sweep_dead(1, old)
    await ledger.sweep_waiting(1, old)
    await elected(postgres, election, "b", 1)
    with pytest.raises(StaleEpoch):
        await ledger.sweep_dead(1, old)
    with pytest.raises(StaleEpoch):
        await ledger.sweep_waiting(1, old)
    with pytest.raises(StaleEpoch):
        await election.record_promotion(1, old, elect_ms=1, promote_ms=1)
    expected = [("epoch", "sweep_dead"), ("epoch", "sweep_waiting"), ("epoch", "record_promotion")]
    assert await refused_by(config, old) == expected


async def test_a_sweep_that_was_refused_changed_nothing(
    config: Settings, postgres: Postgres, election: Election, ledger: TaskLedger
) -> None:
    old, worker = await elected(postgres, election, "a", 0), await a_boot(postgres)
    row = await postgres.row("ensure_user", tenant="default", name="ada", role="operator")
    assert row is not None
    ada = User(id=str(row["id"]), name="ada")
    turn = (await ledger.accept(ada, str(uuid4()), "hello", client_id="1", boot=worker, create=True)).turn
    await ledger.bury(worker, "test")
    new = await elected(postgres, election, "b", 1)
    with pytest.raises(StaleEpoch):
        await ledger.sweep_dead(1, old)
    assert await ledger.running_of(worker) == {turn.id: 1}
    assert await ledger.sweep_dead(2, new) == 1
    with pytest.raises(StaleAttempt):
        await ledger.end(turn, worker, Answer(TaskState.DONE, "late"), agent="agent-t")
    with pytest.raises(StaleAttempt):
        await ledger.begin_step(turn, worker, 1, kind="model", name="m", input_text="")
    assert await refused_by(config, worker) == [("attempt", "end_turn"), ("attempt", "begin_step")]
