"""The history of failovers on a real PostgreSQL: what an election leaves behind, and what becomes known later."""

from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from appliance.core.errors import StaleAttempt
from appliance.core.history import Contender, History
from appliance.core.postgres import Postgres
from appliance.core.records import TaskState, User
from appliance.core.task_ledger import Answer, TaskLedger


@pytest.fixture
def history(postgres: Postgres) -> History:
    return History(postgres)


async def elect(postgres: Postgres, agent: str, voted: int, **evidence: object) -> str:
    """Make `agent` primary of the next epoch; return its boot."""
    boot = str(uuid4())
    await postgres.rows("register_boot", boot=boot, agent=agent)
    assert await postgres.value("elect", agent=agent, boot=boot, voted=voted, evidence=Jsonb(evidence)) == voted + 1
    return boot


async def test_a_cluster_that_elected_nobody_has_no_history(history: History) -> None:
    assert await history.failovers(10) == []


async def test_an_election_is_told_with_its_evidence_and_its_times(postgres: Postgres, history: History) -> None:
    await elect(postgres, "agent-1", 0, kind="first")
    boot = await elect(
        postgres, "agent-3", 1, kind="eof", reason="2 of 2 votes", sole=False, voters=["agent-2", "agent-3"], quorum=2,
        candidates=[{"agent": "agent-3", "score": 2, "lost": ""}, {"agent": "agent-2", "score": 5, "lost": "behind"}],
        detect_ms=151.4, agree_ms=8.1,
    )  # fmt: skip
    assert await postgres.value("record_promotion", epoch=2, boot=boot, elect_ms=12.5, promote_ms=31)
    found, first = await history.failovers(10)
    assert (found.epoch, found.kind, found.old_primary, found.new_primary) == (2, "eof", "agent-1", "agent-3")
    assert (found.voters, found.quorum, found.sole) == (("agent-2", "agent-3"), 2, False)
    assert found.candidates == (Contender("agent-3", 2), Contender("agent-2", 5, "behind"))
    assert (found.detect_ms, found.agree_ms, found.elect_ms, found.promote_ms) == (151.4, 8.1, 12.5, 31.0)
    assert found.total_ms == pytest.approx(203)
    assert found.served_at is not None
    assert (first.epoch, first.old_primary, first.served_at, first.total_ms) == (1, None, None, None)
    assert (first.voters, first.candidates, first.reason) == ((), (), "")


async def test_the_newest_come_first_and_only_as_many_as_asked_for(postgres: Postgres, history: History) -> None:
    for epoch in range(4):
        await elect(postgres, f"agent-{epoch}", epoch, kind="lease", sole=True)
    found = await history.failovers(2)
    assert [it.epoch for it in found] == [4, 3]
    assert all(it.sole for it in found)


async def test_what_moved_when_it_went_on_and_what_was_refused_is_added(postgres: Postgres, history: History) -> None:
    old = await elect(postgres, "agent-1", 0, kind="first")
    row = await postgres.row("ensure_user", tenant="default", name="ada", role="operator")
    assert row is not None
    ada, ledger = User(id=str(row["id"]), name="ada"), TaskLedger(postgres, turn_timeout_s=60, max_queued=10)
    for text in ("one", "two"):
        await ledger.accept(ada, str(uuid4()), text, client_id=text, boot=old, create=True)
    stale = [await ledger.turn(turn) for turn in await ledger.running_of(old)]
    new = await elect(postgres, "agent-2", 1, kind="eof")
    await ledger.bury(old, "test")
    assert await ledger.release(old, turns_only=False) == 2
    moved = (await history.failovers(1))[0]
    assert (moved.moved, moved.first_turn_ms, moved.refused) == (2, None, 0)
    assert len(await ledger.claim(new, 1)) == 1
    for turn in stale:
        assert turn is not None
        with pytest.raises(StaleAttempt):
            await ledger.end(turn, old, Answer(TaskState.DONE, "late"), agent="agent-1")
    found = (await history.failovers(1))[0]
    assert (found.moved, found.refused) == (2, 2)
    assert found.first_turn_ms is not None
    assert 0 < found.first_turn_ms < 30_000
