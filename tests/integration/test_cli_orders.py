"""`nexus drain`, `switchover`, `pause` and `history` on real stores; a stand-in for the keeper ends the orders."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from appliance.cli import drain, history, scale, switchover
from appliance.cli.common import ADMIN, Place
from appliance.cli.pause import _pause, _resume, words_of
from appliance.cli.progress import Patience
from appliance.core.desired_fleet import DesiredFleet, Wish
from appliance.core.election import Election
from appliance.core.errors import BadInput, Conflict
from appliance.core.postgres import Postgres, Row
from appliance.core.records import Agent, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.embedded.places import Home
from tests.stores import Stores
from tests.waiting import wait_until


class Here(Place):
    """A place whose stores are those of the tests."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.home = home
        self._settings = settings

    @property
    def settings(self) -> Settings:
        return self._settings

    @asynccontextmanager
    async def postgres(self) -> AsyncIterator[Postgres]:
        postgres = Postgres(self._settings, application="test")
        await postgres.open()
        try:
            yield postgres
        finally:
            await postgres.aclose()


class Cluster:
    """Agents that beat, and a keeper that ends orders as it is told to."""

    def __init__(self, place: Here, redis: Redis, postgres: Postgres) -> None:
        self.place = place
        self._election = Election(redis, postgres)
        self._registry = Registry(redis)
        self._postgres = postgres

    async def beat(self, number: int, **more: object) -> None:
        facts = {"id": f"agent-{number}", "boot": f"boot-{number}", "status": Status.ACTIVE, "electable": True}
        await self._registry.beat(Agent(**facts | more))  # type: ignore[arg-type]

    async def lead(self, number: int) -> None:
        await self._election.install(f"agent-{number}", f"boot-{number}", 2)

    async def open_orders(self) -> list[Row]:
        return await self._postgres.rows("open_orders")

    async def audited(self) -> list[tuple[str, str]]:
        rows = await self._postgres.rows("audit_entries", before=None, person=ADMIN, action="", subject="", limit=20)
        return [(row["action"], row["subject"]) for row in reversed(rows)]

    async def end(self, outcome: Callable[[Row], str]) -> None:
        """Wait for an order and end it."""
        [order] = await wait_until(self.open_orders, of="an order")
        await self._postgres.rows("end_order", id=order["id"], outcome=outcome(order))


@pytest.fixture
async def cluster(stores: Stores, tmp_path: Path) -> AsyncIterator[Cluster]:
    settings = await stores.with_own_database(redis_key_prefix=f"tcli{tmp_path.name[-4:]}:")
    place = Here(settings, Home.at(tmp_path / "home").create())
    async with place.redis() as redis, place.postgres() as postgres:
        await Registry(redis).initialise(new_generation(), 1)
        made = Cluster(place, redis, postgres)
        for number in (1, 2, 3):
            await made.beat(number)
        await made.lead(1)
        yield made


async def drained(cluster: Cluster, agent: str = "agent-2", deadline_s: str = "5") -> str:
    with Patience("draining") as patience:
        return await drain._drain(cluster.place, agent, deadline_s, patience)


class Screen:
    """Everything that was printed so far."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.text = ""

    async def says(self, words: str) -> None:
        """Wait until these words are there."""

        async def said() -> bool:
            self.text += self._capture.readouterr().out
            return words in self.text

        await wait_until(said, of=words)


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str]) -> Screen:
    return Screen(capsys)


async def test_a_drain_shows_what_is_left_and_ends_with_what_became_of_it(cluster: Cluster, screen: Screen) -> None:
    await cluster.beat(2, status=Status.DRAINING, current_load=7)
    draining = asyncio.create_task(drained(cluster))
    await screen.says("7 of 7 turns left")
    await cluster.beat(1)
    await cluster.beat(2, status=Status.DRAINING, current_load=3)
    await screen.says("3 of 7 turns left")
    await cluster.end(lambda order: f"drained: 7 turns were running, {order['deadline_s']} s")
    assert await draining == "drained: 7 turns were running, 5.0 s"


async def test_a_drain_that_is_under_way_is_followed(cluster: Cluster, screen: Screen) -> None:
    first = asyncio.create_task(drained(cluster))
    await wait_until(cluster.open_orders, of="the order")
    second = asyncio.create_task(drained(cluster))
    await screen.says("following that order")
    assert await cluster.audited() == [("drain", "agent-2"), ("drain: under way", "agent-2")]
    await cluster.end(lambda _: "drained: 0 turns were running, 0.1 s")
    assert await first == await second
    assert await cluster.open_orders() == []


async def test_an_interrupted_drain_stands(cluster: Cluster, screen: Screen) -> None:
    await cluster.beat(2, current_load=1)
    draining = asyncio.create_task(drained(cluster))
    await screen.says("1 of 1 turns left")
    draining.cancel()
    await screen.says("The order stands: agent-2 goes on draining.")
    await asyncio.wait({draining})
    assert draining.cancelled()
    assert len(await cluster.open_orders()) == 1


async def test_a_drain_that_was_not_carried_out_is_an_error_with_its_reason(cluster: Cluster) -> None:
    draining = asyncio.create_task(drained(cluster))
    await cluster.end(lambda _: "not drained: 3 of 7 left, 8.0 s")
    with pytest.raises(Conflict, match=r"Not drained: 3 of 7 left"):
        await draining


async def test_a_refused_command_writes_no_order(cluster: Cluster) -> None:
    with pytest.raises(BadInput, match="there are: agent-1, agent-2, agent-3"):
        await drained(cluster, "agent-9")
    with pytest.raises(BadInput, match="there are: agent-1, agent-2, agent-3"):
        await switchover.hand_over(cluster.place, "agent-9")
    with pytest.raises(BadInput, match="a deadline has 0 to 3600 seconds"):
        await drained(cluster, "agent-2", "soon")
    with pytest.raises(BadInput, match="'four' is not a whole number"), Patience("scaling") as patience:
        await scale._scale(cluster.place, "four", patience, dry_run=False)
    assert await cluster.open_orders() == []
    assert await cluster.audited() == [
        ("drain: refused", "agent-9"), ("switchover: refused", "agent-9"), ("drain: refused", "agent-2"),
        ("scale: refused", "four"),
    ]  # fmt: skip


async def test_the_last_agent_in_service_is_not_drained(cluster: Cluster) -> None:
    """The others run, but were taken out of service a moment ago."""
    async with cluster.place.postgres() as postgres:
        fleet = DesiredFleet(postgres)
        await fleet.up(3, by="nexus up")
        await fleet.change(lambda now: Wish(now.slots, (1, 3)), action="rest", by="ada", key=uuid4())
    with pytest.raises(Conflict, match="agent-2 is the last active agent"):
        await drained(cluster)
    assert await cluster.open_orders() == []


async def test_a_switchover_returns_its_outcome(cluster: Cluster) -> None:
    handing = asyncio.create_task(switchover.hand_over(cluster.place, "agent-2"))
    await cluster.end(lambda order: f"{order['agent_id']} is primary of epoch 2 after 61 ms")
    assert await handing == "agent-2 is primary of epoch 2 after 61 ms"


async def test_a_refused_switchover_is_an_error_with_its_reason(cluster: Cluster) -> None:
    handing = asyncio.create_task(switchover.hand_over(cluster.place, ""))
    await cluster.end(lambda _: "refused: no other agent can be primary")
    with pytest.raises(Conflict, match=r"Refused: no other agent can be primary\."):
        await handing


async def test_a_switchover_waits_for_no_other_one(cluster: Cluster) -> None:
    handing = asyncio.create_task(switchover.hand_over(cluster.place, "agent-2"))
    await wait_until(cluster.open_orders, of="the order")
    with pytest.raises(Conflict, match=r"A switchover to agent-2, asked for by admin at .* is under way"):
        await switchover.hand_over(cluster.place, "agent-3")
    await cluster.end(lambda _: "agent-2 is primary of epoch 2 after 61 ms")
    await handing


async def test_a_switchover_nobody_carries_out_is_taken_back(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchover, "SWITCHOVER_S", 0.2)
    with pytest.raises(Conflict, match="Refused: nobody carried it out"):
        await switchover.hand_over(cluster.place, "agent-2")
    assert await cluster.open_orders() == []


async def test_a_pause_is_said_with_who_and_since_when(cluster: Cluster) -> None:
    paused = await _pause(cluster.place)
    assert words_of(paused).startswith("Automatic failover is paused by admin since ")
    assert await _resume(cluster.place)
    assert not await _resume(cluster.place)


async def test_an_empty_history_says_so_kindly(cluster: Cluster, screen: Screen) -> None:
    history.show(await history._read(cluster.place, 10), cluster.place.home)
    await screen.says("Nobody has been elected yet")
