"""The primary's seat on real stores: kept, lost, shown again, given up (PROTOCOLS 6.3, 6.4)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from agent_image.keeper.seat import FENCE_S, Seat
from agent_image.shared_page import SharedPage
from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.postgres import Postgres
from appliance.core.records import Released, Role
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from tests.stores import Stores


class Bench:
    """Agent a as primary of epoch 1, and the means to depose it."""

    def __init__(self, redis: Redis, postgres: Postgres) -> None:
        self.redis, self.postgres = redis, postgres
        self.registry, self.election = Registry(redis), Election(redis, postgres)
        self.page, self.boot = SharedPage.create(), str(uuid4())
        self.seat = Seat("a", self.election, self.page, idle_role=Role.SECONDARY)

    async def elect(self, agent: str, boot: str) -> int:
        voted = (await self.election.current()).number
        epoch = await self.election.elect(agent, boot, voted=voted, evidence={})
        assert epoch is not None
        return epoch

    async def check(self, *, lease_there: bool = True, may_show: bool = True) -> None:
        await self.seat.check(await self.election.current(), self.boot, lease_there=lease_there, may_show=may_show)

    async def holder(self) -> str | None:
        return (await self.registry.view()).primary_id


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    settings = await stores.with_own_database(redis_key_prefix=f"t{uuid4().hex[:6]}:")
    redis, postgres = Redis(settings), Postgres(settings, application="test")
    await postgres.open()
    made = Bench(redis, postgres)
    await made.registry.initialise(new_generation(), 0)
    assert await made.seat.take(made.boot, await made.elect("a", made.boot))
    yield made
    await postgres.aclose()
    await redis.aclose()


async def test_a_primary_may_act_for_less_than_its_lease(bench: Bench) -> None:
    before = monotonic()
    await bench.seat.keep(bench.boot)
    assert bench.seat.stands
    assert before + FENCE_S <= bench.page.lease_deadline <= monotonic() + FENCE_S
    assert await bench.holder() == "a"


async def test_a_later_term_in_postgresql_ends_the_own_one(bench: Bench) -> None:
    """A candidate may have died right after its commit: Redis knows nothing of it."""
    await bench.elect("b", str(uuid4()))
    await bench.seat.keep(bench.boot)
    assert bench.seat.held
    await bench.check()
    assert not bench.seat.held


async def test_a_lease_of_somebody_else_ends_the_own_term(bench: Bench) -> None:
    boot = str(uuid4())
    assert await bench.election.install("b", boot, await bench.elect("b", boot))
    await bench.seat.keep(bench.boot)
    assert not bench.seat.held
    assert await bench.holder() == "b"


async def test_a_lease_that_redis_lost_is_shown_again(bench: Bench) -> None:
    await bench.redis.data.delete(bench.redis.keys.primary)
    await bench.seat.keep(bench.boot)
    assert bench.seat.stands
    assert await bench.holder() == "a"


async def test_a_lease_that_redis_lost_is_not_shown_again_after_a_later_term(bench: Bench) -> None:
    await bench.elect("b", str(uuid4()))
    await bench.redis.data.delete(bench.redis.keys.primary)
    await bench.seat.keep(bench.boot)
    assert not bench.seat.held
    assert await bench.holder() is None


async def test_a_term_won_without_hearing_of_it_is_taken_up(bench: Bench) -> None:
    """The reply to the compare-and-set, or to the lease's showing, was lost: the row decides."""
    await bench.elect("b", str(uuid4()))
    await bench.check()
    epoch = await bench.elect("a", bench.boot)
    await bench.check()
    assert (bench.seat.stands, bench.seat.epoch) == (True, epoch)
    assert await bench.holder() == "a"


async def test_a_term_that_was_shown_by_a_check_in_between_counts_as_taken(bench: Bench) -> None:
    await bench.elect("b", str(uuid4()))
    await bench.check()
    epoch = await bench.elect("a", bench.boot)
    await bench.check()
    assert await bench.seat.take(bench.boot, epoch)
    await bench.elect("b", str(uuid4()))
    assert not await bench.seat.take(bench.boot, epoch - 1)


async def test_a_stalled_runner_is_not_shown_as_primary(bench: Bench) -> None:
    await bench.redis.data.delete(bench.redis.keys.primary)
    await bench.check(lease_there=False, may_show=False)
    assert await bench.holder() is None


async def test_a_new_boot_does_not_inherit_the_seat(bench: Bench) -> None:
    await bench.seat.keep(str(uuid4()))
    assert not bench.seat.held


async def test_a_seat_given_up_is_gone_at_once_and_not_taken_again_in_the_same_term(bench: Bench) -> None:
    await bench.seat.give_up(successor="b", kind="switchover")
    view = await bench.registry.view()
    assert (view.lease, view.released) == (None, Released(1, "b", "switchover"))
    await bench.check(lease_there=False)
    assert not bench.seat.held
    assert await bench.holder() is None


async def test_who_does_not_hold_the_seat_gives_nothing_up(bench: Bench) -> None:
    bench.seat.step_down("test")
    await bench.seat.give_up(successor="b", kind="switchover")
    assert await bench.holder() == "a"
