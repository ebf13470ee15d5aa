"""Rows of directed work, on a real PostgreSQL: whom it is told to, who may claim it, when a preference is given up."""

from uuid import UUID

import pytest

from appliance.core.errors import BadInput, Overloaded, StaleEpoch
from appliance.core.needs import GRACE_S
from appliance.core.postgres import Postgres
from appliance.core.records import TaskState
from appliance.core.task_batches import TaskBatches
from appliance.core.task_lists import TaskLists, TaskSeen
from tests.integration.test_task_batches import GEN, SHARE, Books


class Directed(Books):
    """The ledger; who has a GPU is what these tests are about."""

    async def can(self, boot: str, *capabilities: str) -> None:
        assert await self.batches.declare(boot, capabilities)

    async def need(self, count: int = 1, *, of: str = "ada", prefers: bool = False) -> tuple[str, ...]:
        published = await self.put_up(count, of=of, needs=("gpu",), prefers=prefers)
        assert published.told == (), "the dispatcher tells of directed work"
        return published.ids

    async def told(self, epoch: int, generation: str = GEN, older_s: float = 60.0) -> dict[str, str]:
        """Sweep directed work; return the places of its rows."""
        return dict(await self.batches.directed(epoch, self.boot, generation, share=SHARE, older_s=older_s, limit=100))

    async def dies(self, boot: str, seconds_ago: float = 0.0) -> None:
        """Bury a boot, as if so long ago."""
        await self.turns.bury(boot, "it died")
        async with self.postgres._pool.connection() as connection:
            change = "update boots set dead_at = now() - make_interval(secs => %s) where boot = %s"
            await connection.execute(change, [seconds_ago, boot])

    async def seen(self, id_: str) -> TaskSeen:
        return await TaskLists(self.postgres).one(UUID(id_))


@pytest.fixture
async def books(postgres: Postgres) -> Directed:
    found = Directed(postgres)
    await found.open()
    return found


async def test_directed_work_is_told_once_somebody_alive_can_do_it(books: Directed) -> None:
    ids, epoch = await books.need(2), await books.lead()
    assert await books.told(epoch) == {}
    await books.can(books.other, "gpu", "web")
    assert await books.told(epoch) == dict.fromkeys(ids, "normal:gpu")
    assert await books.told(epoch) == {}, "this Redis knows them"
    assert (await books.told(epoch, "g2")).keys() == set(ids)
    assert (await books.told(epoch, "g2", older_s=0)).keys() == set(ids), "their entries may be lost"


async def test_who_lacks_what_a_task_needs_does_not_get_it(books: Directed) -> None:
    """Though no reader is told of it, whoever asks for it by its id is refused."""
    ids = await books.need()
    await books.can(books.other, "gpu")
    assert await books.take(ids) == []
    [task] = await books.take(ids, books.other)
    assert (await books.end(task, boot=books.other))[0] == set(ids)


async def test_several_needs_are_those_of_one_agent(books: Directed) -> None:
    await books.put_up(1, needs=("web", "gpu", "web"))
    epoch = await books.lead()
    await books.can(books.boot, "gpu")
    await books.can(books.other, "web")
    assert await books.told(epoch) == {}
    await books.can(books.other, "web", "gpu")
    assert list((await books.told(epoch)).values()) == ["normal:gpu+web"]


async def test_what_nobody_can_do_is_in_nobody_s_way(books: Directed) -> None:
    await books.need(3 * SHARE)
    epoch = await books.lead()
    assert await books.told(epoch) == {}
    assert len((await books.put_up(4)).told) == 4


async def test_directed_work_and_other_work_have_shares_of_their_own(books: Directed) -> None:
    await books.can(books.other, "gpu")
    await books.need(3 * SHARE)
    assert len(await books.told(await books.lead())) == SHARE
    assert len((await books.put_up(SHARE)).told) == SHARE


async def test_each_person_has_a_share_of_what_a_capability_can_do(books: Directed) -> None:
    await books.need(3 * SHARE)
    bobs = await books.need(of="bob")
    await books.can(books.other, "gpu")
    epoch = await books.lead()
    told = await books.told(epoch)
    assert (len(told), told.keys() & set(bobs)) == (SHARE + 1, set(bobs))
    tasks = await books.take(sorted(told), books.other)
    assert (await books.end(*tasks, boot=books.other))[1] == []
    assert len(await books.told(epoch)) == SHARE, "the next of the line"


async def test_directed_tasks_are_counted_among_those_that_may_wait(books: Directed) -> None:
    books.batches = TaskBatches(books.postgres, timeout_s=60, max_queued=20)
    await books.need(20)
    with pytest.raises(Overloaded):
        await books.put_up()


async def test_what_a_dead_agent_had_directed_waits_for_another_who_can(books: Directed) -> None:
    ids, epoch = await books.need(), await books.lead()
    await books.can(books.other, "gpu")
    await books.take(ids, books.other)
    await books.dies(books.other, seconds_ago=GRACE_S + 1)
    await books.turns.release(books.other, turns_only=False)
    assert await books.told(epoch) == {}
    assert (await books.seen(ids[0])).line.no_agent == "No agent can do it: needs gpu."
    await books.can(books.boot, "gpu")
    assert await books.told(epoch) == dict.fromkeys(ids, "normal:gpu")
    assert (await books.seen(ids[0])).line.no_agent == ""


async def test_a_preference_is_given_up_when_nobody_has_been_able_to_for_a_while(books: Directed) -> None:
    await books.can(books.other, "gpu")
    (id_,), epoch = await books.need(prefers=True), await books.lead()
    await books.dies(books.other, seconds_ago=GRACE_S - 5)
    assert await books.told(epoch) == {}
    assert await books.sweep(epoch) == [], "somebody had it a moment ago"
    assert (await books.seen(id_)).line.no_agent == "No agent has what it prefers: gpu. Soon any may run it."
    await books.dies(books.other, seconds_ago=GRACE_S + 1)
    assert await books.told(epoch) == {}
    assert await books.sweep(epoch) == [id_]
    [task] = await books.take([id_])
    assert (await books.end(task))[0] == {id_}
    seen = await books.seen(id_)
    assert (seen.line.state, seen.line.needs, seen.line.no_agent) == (TaskState.DONE, ("gpu",), "")
    assert [(it.what, it.why) for it in seen.moments if it.kind == "loosened"] == [
        ("any agent may run it from now on", "for 10 s nobody has had what it preferred")
    ]


async def test_a_preference_somebody_can_serve_stands(books: Directed) -> None:
    (id_,), epoch = await books.need(prefers=True), await books.lead()
    await books.can(books.other, "gpu")
    assert await books.told(epoch) == {id_: "normal:gpu"}
    assert await books.take([id_]) == []


async def test_a_preference_is_given_up_and_a_need_beside_it_is_not(books: Directed) -> None:
    wish, need, epoch = await books.need(prefers=True), await books.need(), await books.lead()
    await books.told(epoch)
    assert await books.sweep(epoch) == list(wish)
    assert [it.id for it in await books.take([*wish, *need])] == list(wish)


async def test_a_deposed_primary_tells_of_no_directed_work(books: Directed) -> None:
    await books.need()
    with pytest.raises(StaleEpoch):
        await books.told(await books.lead() - 1)


async def test_what_no_agent_can_have_is_refused(books: Directed) -> None:
    with pytest.raises(BadInput, match="nothing an agent can have"):
        await books.put_up(1, needs=("a GPU",))
    with pytest.raises(BadInput, match="5 capabilities at most, not 6"):
        await books.put_up(1, needs=tuple("abcdef"))


async def test_tasks_nobody_can_do_are_counted(books: Directed) -> None:
    async def unservable() -> int:
        row = await books.postgres.row("measured_work")
        assert row is not None
        return int(row["unservable"])

    assert await unservable() == 0
    await books.need(3)
    await books.put_up(2)
    assert await unservable() == 3
    await books.can(books.other, "gpu")
    assert await unservable() == 0
