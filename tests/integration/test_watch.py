"""A peer's ended connection is news, not death: what a keeper checks before it buries somebody (PROTOCOLS 6.4, 7.3)."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from uuid import uuid4

import pytest

from agent_image.keeper.liveness import Hello, Liveness
from agent_image.keeper.parts import Parts
from agent_image.keeper.seat import Seat
from agent_image.keeper.tilt import Tilt
from agent_image.keeper.watch import VOTE_WINDOW_MS, Watch
from agent_image.shared_page import SharedPage
from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.health import UNMOVED_BEAT_S
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, ClusterView, Lease, Role, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from appliance.core.settings import BEAT_S
from appliance.core.task_ledger import TaskLedger
from tests.stores import Stores
from tests.waiting import wait_until


class Bench:
    """Agent a watches; b is the primary: a boot in the ledger, a lease in Redis and a liveness port."""

    def __init__(self, stores: Stores, redis: Redis, postgres: Postgres) -> None:
        self.redis, self.boot, self.page = redis, str(uuid4()), SharedPage.create()
        self.registry, self.election = Registry(redis), Election(redis, postgres)
        self.ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=10)
        settings = stores.settings(agent_host="127.0.0.1", liveness_port=0)
        self._settings = settings
        self.peer = self._peer(port=0)
        own = Liveness(settings, lambda: Hello(agent="a", boot="", epoch=1, role="secondary"))
        self.tilt = Tilt()
        self.watch = Watch("a", Parts(
            describe=lambda: Agent(id="a"), redis=redis, postgres=postgres, registry=self.registry, ledger=self.ledger,
            election=self.election, liveness=own, page=self.page,
            seat=Seat("a", self.election, self.page, idle_role=Role.SECONDARY), tilt=self.tilt,
        ))  # fmt: skip
        self.suspected: list[tuple[Lease, float | None]] = []
        self.watch.tell(lambda lease, ended_at: self.suspected.append((lease, ended_at)))
        self._view: ClusterView | None = None

    def _peer(self, port: int) -> Liveness:
        settings = self._settings.model_copy(update={"liveness_port": port})
        return Liveness(settings, lambda: Hello(agent="b", boot=self.boot, epoch=1, role="primary"))

    async def heal(self) -> None:
        """Let b answer again, where it did before."""
        self.peer = self._peer(self.peer.port)
        await self.peer.start()

    async def start(self) -> None:
        await self.registry.initialise(new_generation(), 0)
        await self.ledger.register_boot(self.boot, "b")
        await self.peer.start()
        await self.beat()
        assert await self.election.install("b", self.boot, 1)

    async def beat(self) -> None:
        """Let b beat once, and a see the registry as a keeper's candidate does."""
        port = self.peer.port
        await self.registry.beat(
            Agent(id="b", boot=self.boot, host="127.0.0.1", liveness_port=port, status=Status.ACTIVE)
        )
        await self.look()

    async def look(self) -> None:
        self.tilt.redis_answered_at = 1e12  # no keeper beats here
        self.watch.see(await self.registry.view())

    async def connected(self) -> bool:
        return bool(self.peer._peers)

    async def buried(self) -> bool:
        return await self.ledger.is_dead(self.boot)


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    settings = await stores.with_own_database(redis_key_prefix=f"t{uuid4().hex[:6]}:")
    redis, postgres = Redis(settings), Postgres(settings, application="test")
    await postgres.open()
    made = Bench(stores, redis, postgres)
    await made.start()
    watching = asyncio.create_task(made.watch.run())
    await wait_until(made.connected, of="a liveness connection")
    yield made
    watching.cancel()
    await asyncio.wait({watching})
    await made.peer.close()
    await postgres.aclose()
    await redis.aclose()


async def test_a_connection_that_ends_while_its_keeper_answers_is_no_death(bench: Bench) -> None:
    [connection] = list(bench.peer._peers)
    connection.close()

    async def connected_anew() -> bool:
        await bench.look()
        return bool(bench.peer._peers - {connection})

    await wait_until(connected_anew, of="a new connection")
    assert bench.suspected == []
    assert not await bench.redis.data.exists(bench.redis.keys.suspects(bench.boot))
    assert not await bench.buried()


async def test_a_peer_that_only_this_keeper_cannot_reach_is_left_alone_while_it_beats(bench: Bench) -> None:
    """One cut between two hosts: the primary still beats in Redis (FAULTS F7b)."""
    await bench.peer.close()
    suspects = bench.redis.keys.suspects(bench.boot)

    async def suspected() -> bool:
        await bench.beat()
        return bool(await bench.redis.data.exists(suspects))

    await wait_until(suspected, of="a suspicion")
    until = monotonic() + 2 * UNMOVED_BEAT_S
    while monotonic() < until:
        await asyncio.sleep(BEAT_S / 10)
        await bench.beat()
    assert not await bench.buried()
    assert [lease.boot for lease, _ in bench.suspected] == [bench.boot]


async def test_a_silent_port_and_an_unmoved_beat_are_a_death(bench: Bench) -> None:
    await bench.peer.close()
    await wait_until(bench.buried, of="the burial")

    async def left() -> bool:
        view = await bench.registry.view()
        return view.lease is None and not view.agents[0].boot_alive

    await wait_until(left, of="the end of its lease and of its boot key")


async def test_a_second_witness_confirms_a_death_although_a_beat_came_a_moment_ago(bench: Bench) -> None:
    await bench.peer.close()

    async def buried() -> bool:
        await bench.beat()
        await bench.registry.suspect("b", bench.boot, voter="c", window_ms=VOTE_WINDOW_MS)
        return await bench.buried()

    await wait_until(buried, of="the burial")


async def test_a_keeper_that_hears_a_peer_again_is_no_witness_of_the_next_cut(bench: Bench) -> None:
    """Two hosts were cut off from the primary, one after the other and never together: a healed cut counts no more."""
    await bench.peer.close()
    suspects = bench.redis.keys.suspects(bench.boot)

    async def counted(wanted: int) -> bool:
        await bench.beat()
        return await bench.redis.data.zcard(suspects) == wanted

    await wait_until(partial(counted, 1), of="a suspicion")
    await bench.heal()
    await wait_until(partial(counted, 0), within_s=VOTE_WINDOW_MS / 1000 / 2, of="its end, sooner than by its age")
    assert not await bench.buried()
    assert bench.suspected[-1][1] is None
