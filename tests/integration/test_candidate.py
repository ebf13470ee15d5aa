"""One keeper looks at the primary's seat, on real stores (PROTOCOLS 6.4); its peers are played by the test."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from agent_image.keeper.candidate import Candidate
from agent_image.keeper.liveness import Hello, Liveness
from agent_image.keeper.parts import Parts
from agent_image.keeper.promotion import Promotion
from agent_image.keeper.seat import Seat
from agent_image.keeper.tilt import Tilt
from agent_image.keeper.watch import Watch
from agent_image.shared_page import SharedPage
from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.election.decide import EXTRA_LEASE_S
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import Agent, Role, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.core.task_ledger import TaskLedger
from tests.stores import Stores
from tests.waiting import wait_until

HOST = "127.0.0.1"


class Bench:
    """Agent a is a candidate; b answers at its liveness port and beats when the test says so."""

    def __init__(self, stores: Stores, database: Settings, redis: Redis, postgres: Postgres) -> None:
        self.settings = database
        self.redis, self.page = redis, SharedPage.create()
        self.registry, self.election = Registry(redis), Election(redis, postgres)
        self.ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=10)
        self.boots = {"a": str(uuid4()), "b": str(uuid4())}
        self.holds = True
        settings = stores.settings(agent_host=HOST, liveness_port=0)
        self.peer = Liveness(
            settings, lambda: Hello(agent="b", boot=self.boots["b"], epoch=1, role="primary", holds=self.holds)
        )
        own = Liveness(settings, lambda: Hello(agent="a", boot=self.boots["a"], epoch=1, role="secondary"))
        self.seat, self.tilt = Seat("a", self.election, self.page, idle_role=Role.SECONDARY), Tilt()
        parts = Parts(
            describe=lambda: self.agent("a"), redis=redis, postgres=postgres, registry=self.registry,
            ledger=self.ledger, election=self.election, liveness=own, page=self.page, seat=self.seat, tilt=self.tilt,
        )  # fmt: skip
        watch = Watch("a", parts)
        self.candidate = Candidate(parts, Promotion(parts, watch.carry_out), watch.see)

    def agent(self, name: str) -> Agent:
        return Agent(
            id=name, boot=self.boots[name], host=HOST, liveness_port=self.peer.port if name == "b" else 0,
            status=Status.ACTIVE, can_vote=True, electable=True, config_epoch=1,
        )  # fmt: skip

    async def start(self) -> None:
        await self.registry.initialise(new_generation(), 0)
        await self.peer.start()
        for name, boot in self.boots.items():
            await self.ledger.register_boot(boot, name)

    async def elect(self, name: str) -> None:
        """Make an agent primary of epoch 1, and let both beat."""
        assert await self.election.elect(name, self.boots[name], voted=0, evidence={}) == 1
        if name == "a":
            assert await self.seat.take(self.boots["a"], 1)
        else:
            assert await self.election.install("b", self.boots["b"], 1)
        await self.age()
        for name in self.boots:
            await self.registry.beat(self.agent(name))

    async def age(self) -> None:
        """Set the term's birth back, for one born just now is given a moment to show its lease."""
        url, options = self.settings.postgres_url, connection_options(self.settings, "test")
        async with await psycopg.AsyncConnection.connect(url, **options) as session:
            await session.execute("update cluster_epoch set elected_at = elected_at - interval '1 minute'")

    async def beat(self) -> None:
        """Do what a's other loops do: beat, and ask PostgreSQL."""
        self.tilt.redis_answered_at = monotonic()
        await self.registry.beat(self.agent("a"))
        self.candidate.note_standing(await self.election.standing(self.boots["a"]))

    async def leads(self) -> bool:
        """Whether a is primary of epoch 2."""
        await self.beat()
        lease = (await self.registry.view()).lease
        return lease is not None and (lease.holder, lease.epoch) == ("a", 2) and self.seat.stands


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    settings = await stores.with_own_database(redis_key_prefix=f"t{uuid4().hex[:6]}:")
    redis, postgres = Redis(settings), Postgres(settings, application="test")
    await postgres.open()
    made = Bench(stores, settings, redis, postgres)
    await made.start()
    yield made
    await made.peer.close()
    await postgres.aclose()
    await redis.aclose()


@pytest.fixture
async def looking(bench: Bench) -> AsyncIterator[Bench]:
    """The same with b as primary, and a that looks."""
    await bench.elect("b")
    await bench.beat()
    task = asyncio.create_task(bench.candidate.run())
    yield bench
    task.cancel()
    await asyncio.wait({task})


async def test_a_primary_that_answers_is_not_voted_against_although_redis_shows_no_lease(looking: Bench) -> None:
    looks = 0

    async def has_looked() -> bool:
        nonlocal looks
        looks += 1
        await looking.beat()
        return looks > 30

    await looking.redis.data.delete(looking.redis.keys.primary)
    await wait_until(has_looked, of="looks")
    assert not await looking.redis.data.exists(looking.redis.keys.votes(1))
    looking.holds = False
    await looking.peer.close()
    await wait_until(looking.leads, of="a's election once b no longer answers")


async def test_after_an_ended_connection_the_unmoved_lease_is_taken(looking: Bench) -> None:
    lease = (await looking.registry.view()).lease
    assert lease is not None
    looking.candidate.suspect(lease, monotonic())
    await wait_until(looking.leads, of="a's election")
    await wait_until(lambda: looking.ledger.is_dead(looking.boots["b"]), of="the burial of the deposed boot")


async def test_a_lease_that_moved_after_the_connection_ended_is_left_alone(looking: Bench) -> None:
    lease = (await looking.registry.view()).lease
    assert lease is not None
    assert await looking.election.renew("b", looking.boots["b"], 1) == "ok"
    looking.candidate.suspect(lease, monotonic())
    until = monotonic() + 1
    while monotonic() < until:
        await looking.beat()
        await looking.election.renew("b", looking.boots["b"], 1)
        await asyncio.sleep(0.02)
    assert (await looking.election.current()).number == 1


async def test_who_gave_the_seat_to_somebody_that_then_died_is_primary_again(bench: Bench) -> None:
    """Found by the explorer: it took itself for the primary of the term it had given up, and waited for ever."""
    await bench.elect("a")
    await bench.seat.give_up(successor="b", kind="switchover")
    await bench.registry.leave("b", bench.boots["b"], on_purpose=False)
    began = monotonic()
    await bench.beat()
    task = asyncio.create_task(bench.candidate.run())
    await wait_until(bench.leads, of="a's election")
    task.cancel()
    await asyncio.wait({task})
    assert monotonic() - began >= EXTRA_LEASE_S
    assert not await bench.ledger.is_dead(bench.boots["a"])
