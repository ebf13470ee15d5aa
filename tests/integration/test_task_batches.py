"""The ledger of tasks in batches, on a real PostgreSQL (PROTOCOLS 7.2, 7.4, 7.6)."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from appliance.core.errors import Overloaded, StaleAttempt, StaleEpoch
from appliance.core.postgres import Postgres
from appliance.core.records import Ended, Task, TaskState, User
from appliance.core.task_batches import Done, Published, TaskBatches, Wanted
from appliance.core.task_ledger import TaskLedger

GEN = "g1"
SHARE = 10
ONE_AND_MANY = (1, 3)
"""A single task goes a way of its own through the functions; what it comes to is the same."""


class Books:
    """The ledger, a boot that works and one that watches."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.batches = TaskBatches(postgres, timeout_s=60, max_queued=1000)
        self.turns = TaskLedger(postgres, turn_timeout_s=60, max_queued=1000)
        self.boot, self.other = str(uuid4()), str(uuid4())

    async def open(self) -> None:
        for boot in (self.boot, self.other):
            await self.turns.register_boot(boot, f"agent-{boot[:4]}")

    async def user(self, name: str = "ada") -> User:
        row = await self.postgres.row("ensure_user", tenant="t", name=name, role="operator")
        assert row is not None
        return User(id=str(row["id"]), name=name, tenant_id="t")

    async def put_up(self, count: int = 1, *, of: str = "ada", share: int = SHARE, **more: object) -> Published:
        wanted = [Wanted("nothing", {"n": n}, **more) for n in range(count)]  # type: ignore[arg-type]
        return await self.batches.submit(await self.user(of), wanted, generation=GEN, share=share)

    async def take(self, ids: Sequence[str], boot: str = "") -> list[Task]:
        return list((await self.batches.claim(boot or self.boot, ids)).tasks)

    async def lead(self) -> int:
        """Make this boot the primary; return the epoch."""
        epoch = await self.postgres.value(
            "elect", agent="agent-1", boot=self.boot, voted=0, evidence=Jsonb({"kind": "first"})
        )
        return int(epoch)

    async def sweep(self, epoch: int, generation: str = GEN) -> list[str]:
        told = await self.batches.undispatched(epoch, self.boot, generation, share=SHARE, limit=100)
        return [id_ for id_, _ in told]

    async def end(self, *tasks: Task, boot: str = "", state: TaskState = TaskState.DONE) -> tuple[set[str], list[str]]:
        """Commit; return which ended, and which are to be told of next."""
        done = [Done(task, Ended(state, {"by": task.attempt})) for task in tasks]
        committed = await self.batches.commit(boot or self.boot, GEN, done)
        return set(committed.ended), [id_ for id_, _ in committed.told]


@pytest.fixture
async def books(postgres: Postgres) -> Books:
    found = Books(postgres)
    await found.open()
    return found


@pytest.mark.parametrize("count", ONE_AND_MANY)
async def test_what_is_published_is_claimed_once_and_ends_once(books: Books, count: int) -> None:
    published = await books.put_up(count)
    assert [id_ for id_, _ in published.told] == list(published.ids)
    taken = await asyncio.gather(books.take(published.ids), books.take(published.ids, books.other))
    first, second = sorted(taken, key=len)
    assert (len(first), len(second)) == (0, count)
    boot = books.boot if taken[0] is second else books.other
    ended, _ = await books.end(*second, boot=boot)
    assert ended == set(published.ids)
    assert await books.end(*second, boot=boot) == (set(), []), "the second commit is refused"
    found = await books.batches.ended(published.ids)
    assert {it.state for it in found.values()} == {TaskState.DONE}


@pytest.mark.parametrize("count", ONE_AND_MANY)
async def test_nobody_ends_an_attempt_that_is_not_theirs(books: Books, count: int) -> None:
    published = await books.put_up(count)
    old = await books.take(published.ids)
    assert (await books.end(*old, boot=books.other))[0] == set()
    for task in old:
        await books.batches.fail(task, books.boot, reason="no", delay_s=0)
    new = await books.take(published.ids)
    assert (await books.end(*old))[0] == set(), "an attempt before this one"
    assert (await books.end(*new))[0] == set(published.ids)
    assert await refused(books) == 2 * count


async def refused(books: Books) -> int:
    async with books.postgres._pool.connection() as connection:
        found = await (await connection.execute("select count(*) as n from refusals")).fetchone()
    return int(found["n"]) if found else 0


@pytest.mark.parametrize("count", ONE_AND_MANY)
async def test_a_key_used_twice_is_one_task(books: Books, count: int) -> None:
    user = await books.user()
    wanted = [Wanted("nothing", key=f"key {n}") for n in range(count)]
    first = await books.batches.submit(user, wanted, generation=GEN, share=SHARE)
    again = await books.batches.submit(user, wanted, generation=GEN, share=SHARE)
    assert again.ids == first.ids
    assert again.told == ()


@pytest.mark.parametrize("count", ONE_AND_MANY)
async def test_a_dead_boot_claims_nothing_and_commits_nothing(books: Books, count: int) -> None:
    published = await books.put_up(count)
    [task, *_] = await books.take(published.ids)
    await books.turns.bury(books.boot, "it died")
    assert await books.turns.release(books.boot, turns_only=False) == count
    assert await books.take(published.ids) == []
    assert (await books.end(task))[0] == set()
    again = await books.take(published.ids, books.other)
    assert {it.attempt for it in again} == {2}


async def test_only_a_share_of_a_person_s_tasks_is_told_and_the_rest_follow_as_these_end(books: Books) -> None:
    published = await books.put_up(25)
    assert len(published.told) == SHARE
    more = await books.put_up(5)
    assert more.told == (), "the share is full"
    tasks = await books.take([id_ for id_, _ in published.told[:4]])
    _, told = await books.end(*tasks)
    assert len(told) == 4
    assert set(told) <= set(published.ids), "the oldest first"


async def test_a_single_task_counts_in_the_share_and_its_end_lets_the_next_be_told(books: Books) -> None:
    singly = [await books.put_up() for _ in range(SHARE)]
    assert [len(it.told) for it in singly] == [1] * SHARE
    behind = await books.put_up()
    assert behind.told == (), "the share is full"
    [task] = await books.take(singly[0].ids)
    assert await books.end(task) == (set(singly[0].ids), list(behind.ids))


@pytest.mark.parametrize("count", ONE_AND_MANY)
async def test_the_dispatcher_hears_of_what_was_not_told(books: Books, count: int) -> None:
    async with books.postgres._pool.connection() as connection:
        await connection.execute("listen nexus_queued")
        await books.put_up(count)
        assert [it async for it in connection.notifies(timeout=0.3, stop_after=1)] == [], "all were told"
        await books.put_up(count, share=0)
        await books.put_up(count, delay_s=60.0)
        assert len([it async for it in connection.notifies(timeout=10, stop_after=2)]) == 2
        await connection.execute("unlisten *")


@pytest.mark.parametrize("count", ONE_AND_MANY)
async def test_of_tasks_that_crashed_their_runners_twice_one_runs_at_a_time(books: Books, count: int) -> None:
    published = await books.put_up(count)
    async with books.postgres._pool.connection() as connection:
        await connection.execute("update tasks set crash_count = 2")
    alone, *others = published.ids + (await books.put_up()).ids
    assert len(await books.take([alone])) == 1
    async with books.postgres._pool.connection() as connection:
        await connection.execute("update tasks set crash_count = 2")
    claimed = await books.batches.claim(books.boot, others)
    assert (claimed.tasks, claimed.postponed) == ((), frozenset(others))


async def test_another_person_s_share_is_their_own(books: Books) -> None:
    await books.put_up(100)
    assert len((await books.put_up(1, of="bob")).told) == 1


async def test_a_failed_try_waits_and_the_third_is_dead(books: Books) -> None:
    [id_] = (await books.put_up()).ids
    for state in (TaskState.QUEUED, TaskState.QUEUED, TaskState.DEAD):
        [task] = await books.take([id_])
        assert await books.batches.fail(task, books.boot, reason="no", delay_s=0) is state
        with pytest.raises(StaleAttempt):
            await books.batches.fail(task, books.boot, reason="no", delay_s=0)
    assert (await books.batches.ended([id_]))[id_].reason == "no"


async def test_a_delayed_task_is_not_claimed_before_its_time(books: Books) -> None:
    published = await books.put_up(1, delay_s=60.0)
    assert published.told == ()
    assert await books.take(published.ids) == []


async def test_too_many_waiting_tasks_of_one_person_are_refused_to_that_person_only(books: Books) -> None:
    books.batches = TaskBatches(books.postgres, timeout_s=60, max_queued=20)
    await books.put_up(20 + SHARE)
    with pytest.raises(Overloaded, match="your tasks"):
        await books.put_up(1)
    await books.put_up(1, of="bob")


async def test_rows_told_to_another_redis_are_told_to_this_one(books: Books) -> None:
    published, epoch = await books.put_up(5), await books.lead()
    assert await books.sweep(epoch) == [], "this one knows them"
    assert set(await books.sweep(epoch, "g2")) == set(published.ids)
    assert await books.sweep(epoch, "g2") == []


async def test_a_sweep_gives_everybody_a_share_and_not_more(books: Books) -> None:
    many, one = await books.put_up(30, share=0), await books.put_up(1, of="bob", share=0)
    assert (many.told, one.told) == ((), ())
    swept, epoch = [], await books.lead()
    swept = await books.sweep(epoch)
    assert len(swept) == SHARE + 1
    assert set(one.ids) <= set(swept)
    assert await books.sweep(epoch) == []


async def test_a_deposed_primary_sweeps_nothing(books: Books) -> None:
    await books.put_up(3, share=0)
    with pytest.raises(StaleEpoch):
        await books.sweep(await books.lead() - 1)


async def test_rows_whose_entry_may_be_lost_are_told_again_and_again(books: Books) -> None:
    published, epoch = await books.put_up(3), await books.lead()
    for older_s, expected in ((60.0, set[str]()), (0.0, set(published.ids)), (0.0, set(published.ids))):
        told = await books.batches.unclaimed(epoch, books.boot, GEN, older_s=older_s, limit=10)
        assert {id_ for id_, _ in told} == expected
