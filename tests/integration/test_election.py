"""Votes and the lease on a real Redis: what each step of an election refuses (PROTOCOLS 6.3)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from appliance.core.election import Election
from appliance.core.election.authority import NAMED_MS
from appliance.core.election.decide import VOTE_WINDOW_S, Evidence, Tally
from appliance.core.errors import NoGeneration, StaleEpoch
from appliance.core.health import UNMOVED_BEAT_S
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Lease, Released, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from appliance.core.settings import BEAT_S, LEASE_S
from tests.stores import Stores

EPOCH = 7


class Bench:
    """One Redis prefix with its registry and its election; agents are named a, b, c and their boots boot-a …"""

    def __init__(self, redis: Redis, postgres: Postgres) -> None:
        self.redis = redis
        self.registry = Registry(redis)
        self.election = Election(redis, postgres)

    async def beat(self, *agents: str, can_vote: bool = True) -> None:
        for agent in agents:
            await self.registry.beat(Agent(id=agent, boot=f"boot-{agent}", status=Status.ACTIVE, can_vote=can_vote))

    async def vote(self, voter: str, *, evidence: Evidence = "lease") -> bool:
        return await self.election.vote(voter, f"boot-{voter}", epoch=EPOCH, suspect="a", evidence=evidence)

    async def may_elect(self, evidence: Evidence = "lease", *, seq: int = 0, held_s: float = 0.0) -> Tally:
        return await self.election.may_elect(epoch=EPOCH, seq=seq, suspect="a", evidence=evidence, held_s=held_s)

    async def age(self, agent: str, by_s: float) -> None:
        """Make an agent's last beat older than it is."""
        key = self.redis.keys.agent(agent)
        at = await self.redis.data.hget(key, "last_heartbeat")
        await self.redis.data.hset(key, "last_heartbeat", int(str(at)) - int(by_s * 1000))

    async def lease(self) -> Lease | None:
        return (await self.registry.view()).lease

    async def epoch(self) -> int:
        return (await self.registry.view()).epoch


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    """A Redis that knows epoch 7, held by a; a, b and c beat and can vote."""
    settings = stores.settings(redis_key_prefix=f"t{uuid4().hex[:6]}:")
    redis, postgres = Redis(settings), Postgres(settings, application="test")
    made = Bench(redis, postgres)
    await made.registry.initialise(new_generation(), EPOCH - 1)
    await made.beat("a", "b", "c")
    assert await made.election.install("a", "boot-a", EPOCH)
    yield made
    await redis.aclose()


# Votes ----------------------------------------------------------------------------------------------------------------


async def test_a_vote_of_an_agent_that_beats_counts_and_is_forgotten_after_a_while(bench: Bench) -> None:
    assert await bench.vote("b")
    assert 0 < await bench.redis.data.pttl(bench.redis.keys.votes(EPOCH)) <= 5000


async def test_a_voter_whose_own_beat_is_stale_is_refused(bench: Bench) -> None:
    await bench.age("b", 3 * BEAT_S + 0.01)
    assert not await bench.vote("b")
    await bench.redis.data.delete(bench.redis.keys.primary)
    assert (await bench.may_elect()).voters == ()


async def test_a_voter_in_tilt_is_refused(bench: Bench) -> None:
    await bench.beat("b", can_vote=False)
    assert not await bench.vote("b")


async def test_a_voter_that_is_replaced_or_gone_or_a_stranger_is_refused(bench: Bench) -> None:
    assert not await bench.vote("stranger")
    await bench.registry.beat(Agent(id="b", boot="newer", status=Status.ACTIVE, can_vote=True))
    assert not await bench.vote("b")
    await bench.beat("b")
    await bench.redis.data.delete(bench.redis.keys.boot("boot-b"))
    assert not await bench.vote("b")


# May it be elected? ---------------------------------------------------------------------------------------------------


async def without_a_lease(bench: Bench) -> Bench:
    await bench.redis.data.delete(bench.redis.keys.primary)
    return bench


async def test_two_votes_of_two_are_enough_once_the_lease_is_absent(bench: Bench) -> None:
    await without_a_lease(bench)
    assert await bench.vote("b")
    assert await bench.may_elect() == Tally("few", 2, ("b",))
    assert await bench.vote("c")
    tally = await bench.may_elect()
    assert (tally.verdict, tally.quorum, sorted(tally.voters)) == ("yes", 2, ["b", "c"])


async def test_the_vote_of_the_suspect_is_not_counted_and_does_not_raise_the_quorum(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.vote("a")
    assert await bench.may_elect() == Tally("few", 2, ())


async def test_who_cannot_vote_does_not_raise_the_quorum(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.beat("c", can_vote=False)
    await bench.vote("b")
    assert await bench.may_elect() == Tally("yes", 1, ("b",))


async def test_a_vote_given_before_tilt_is_not_counted_in_it(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.vote("b")
    await bench.vote("c")
    await bench.beat("c", can_vote=False)
    assert (await bench.may_elect()).voters == ("b",)


async def test_a_silent_agent_does_not_raise_the_quorum(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.redis.data.delete(bench.redis.keys.boot("boot-c"))
    await bench.vote("b")
    assert await bench.may_elect() == Tally("yes", 1, ("b",))


async def test_with_nobody_left_to_vote_one_vote_is_wanted_all_the_same(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.beat("b", "c", can_vote=False)
    assert await bench.may_elect() == Tally("few", 1, ())


async def test_an_old_vote_is_not_counted(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.vote("b")
    await bench.vote("c")
    votes = bench.redis.keys.votes(EPOCH)
    await bench.redis.data.zincrby(votes, -1000 * VOTE_WINDOW_S - 1, "c")
    assert (await bench.may_elect()).verdict == "few"


async def test_votes_against_an_overtaken_epoch_lead_nowhere(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.vote("b")
    await bench.vote("c")
    await bench.redis.data.set(bench.redis.keys.epoch, EPOCH + 1)
    assert (await bench.may_elect()).verdict == "overtaken"


async def test_for_want_of_a_lease_the_lease_must_be_absent(bench: Bench) -> None:
    await bench.vote("b")
    await bench.vote("c")
    assert (await bench.may_elect("lease")).verdict == "alive"
    assert (await bench.may_elect("released")).verdict == "alive"


async def test_after_an_ended_connection_the_lease_may_stand_if_it_has_not_moved(bench: Bench) -> None:
    await bench.vote("b", evidence="eof")
    await bench.vote("c", evidence="eof")
    assert (await bench.may_elect("eof", seq=0)).verdict == "yes"
    assert await bench.election.renew("a", "boot-a", EPOCH) == "ok"
    assert (await bench.may_elect("eof", seq=0)).verdict == "alive"


async def test_a_lease_of_another_epoch_is_a_lease_that_moved(bench: Bench) -> None:
    await bench.vote("b", evidence="eof")
    await bench.vote("c", evidence="eof")
    await bench.redis.data.hset(bench.redis.keys.primary, "epoch", EPOCH - 1)
    assert (await bench.may_elect("eof", seq=0)).verdict == "alive"


async def test_one_voter_alone_has_to_see_the_lease_unmoved_for_longer_than_a_beat(bench: Bench) -> None:
    await bench.beat("c", can_vote=False)
    await bench.vote("b", evidence="eof")
    assert (await bench.may_elect("eof", held_s=UNMOVED_BEAT_S - 0.01)).verdict == "unconfirmed"
    assert (await bench.may_elect("eof", held_s=UNMOVED_BEAT_S)).verdict == "yes"


async def test_one_voter_alone_needs_no_confirmation_once_the_lease_is_absent(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.beat("c", can_vote=False)
    await bench.vote("b", evidence="eof")
    assert (await bench.may_elect("eof")).verdict == "yes"


# The lease ------------------------------------------------------------------------------------------------------------


async def test_an_epoch_is_installed_once_and_never_below_a_known_one(bench: Bench) -> None:
    assert not await bench.election.install("b", "boot-b", EPOCH)
    assert not await bench.election.install("b", "boot-b", EPOCH - 1)
    lease = await bench.lease()
    assert lease is not None
    assert (lease.holder, lease.epoch, lease.seq) == ("a", EPOCH, 0)
    assert 0 < lease.left_s <= LEASE_S


async def test_a_later_epoch_takes_the_lease_of_the_one_before(bench: Bench) -> None:
    assert await bench.election.install("b", "boot-b", EPOCH + 1)
    lease = await bench.lease()
    assert lease is not None
    assert (lease.holder, lease.boot, lease.epoch) == ("b", "boot-b", EPOCH + 1)
    assert await bench.election.renew("a", "boot-a", EPOCH) == "other"


async def test_a_renewal_moves_the_lease_and_is_only_its_holders(bench: Bench) -> None:
    assert await bench.election.renew("a", "boot-a", EPOCH) == "ok"
    lease = await bench.lease()
    assert lease is not None
    assert lease.seq == 1
    for agent, boot, epoch in (("b", "boot-a", EPOCH), ("a", "boot-b", EPOCH), ("a", "boot-a", EPOCH - 1)):
        assert await bench.election.renew(agent, boot, epoch) == "other"
    await without_a_lease(bench)
    assert await bench.election.renew("a", "boot-a", EPOCH) == "absent"
    assert await bench.lease() is None


async def test_a_lost_lease_is_shown_again_and_one_that_is_there_is_not_touched(bench: Bench) -> None:
    assert not await bench.election.reassert("b", "boot-b", EPOCH)
    await without_a_lease(bench)
    assert await bench.election.reassert("a", "boot-a", EPOCH)
    lease = await bench.lease()
    assert lease is not None
    assert (lease.holder, lease.epoch) == ("a", EPOCH)


async def test_a_lost_lease_of_an_overtaken_epoch_is_not_shown_again(bench: Bench) -> None:
    await without_a_lease(bench)
    await bench.redis.data.set(bench.redis.keys.epoch, EPOCH + 1)
    assert not await bench.election.reassert("a", "boot-a", EPOCH)
    assert await bench.lease() is None


async def test_a_lower_cached_epoch_is_raised_by_whoever_knows_better(bench: Bench) -> None:
    """A Redis that failed over to an older replica (PROTOCOLS 6.5)."""
    await without_a_lease(bench)
    await bench.redis.data.set(bench.redis.keys.epoch, EPOCH - 3)
    assert await bench.election.reassert("a", "boot-a", EPOCH)
    assert await bench.epoch() == EPOCH


async def test_a_released_seat_is_gone_at_once_and_names_its_successor_for_a_moment(bench: Bench) -> None:
    assert await bench.election.release("a", "boot-a", EPOCH, successor="c", kind="switchover")
    view = await bench.registry.view()
    assert (view.lease, view.released) == (None, Released(EPOCH, "c", "switchover"))
    assert 0 < await bench.redis.data.pttl(bench.redis.keys.released) <= NAMED_MS
    assert await bench.election.install("c", "boot-c", EPOCH + 1)
    assert (await bench.registry.view()).released is None


async def test_only_its_holder_releases_a_lease(bench: Bench) -> None:
    for agent, boot, epoch in (("b", "boot-a", EPOCH), ("a", "boot-b", EPOCH), ("a", "boot-a", EPOCH - 1)):
        assert not await bench.election.release(agent, boot, epoch, successor="", kind="child")
    view = await bench.registry.view()
    assert view.lease is not None
    assert view.released is None


async def test_a_boot_that_leaves_takes_no_lease_but_its_own_along(bench: Bench) -> None:
    await bench.registry.leave("b", "boot-b", on_purpose=False)
    assert await bench.lease() is not None
    await bench.registry.leave("a", "boot-a", on_purpose=False)
    assert await bench.lease() is None


async def test_a_deposed_primary_tells_nobody_anything(bench: Bench) -> None:
    await bench.election.tell(EPOCH, {"type": "routing"})
    await bench.election.tell(EPOCH + 1, {"type": "routing"})
    with pytest.raises(StaleEpoch):
        await bench.election.tell(EPOCH - 1, {"type": "routing"})


async def test_a_redis_without_data_carries_out_no_step_of_an_election(bench: Bench) -> None:
    await bench.redis.data.delete(bench.redis.keys.generation)
    elected = bench.election
    for step in (
        bench.vote("b"),
        bench.may_elect(),
        elected.install("b", "boot-b", EPOCH + 1),
        elected.reassert("a", "boot-a", EPOCH),
        elected.renew("a", "boot-a", EPOCH),
        elected.release("a", "boot-a", EPOCH, successor="", kind="child"),
        elected.tell(EPOCH, {"type": "routing"}),
    ):
        with pytest.raises(NoGeneration):
            await step
