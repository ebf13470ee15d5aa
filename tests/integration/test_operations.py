"""Operations and the loop that carries them out, on real stores with a fleet in memory whose members beat and obey."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from appliance.core.errors import BadInput, Conflict, Forbidden
from control_plane.fleet import FleetAway, MemberState
from tests.stores import Stores
from tests.waiting import wait_until
from tests.worlds import World, a_world, ada


@pytest.fixture
async def world(stores: Stores) -> AsyncIterator[World]:
    async with a_world(stores) as made:
        yield made


async def test_scaling_up_starts_and_scaling_down_drains_then_removes(world: World) -> None:
    world.fleet.loads = {2: 3, 3: 1}
    async with world.reconciling():
        assert (await world.do.preview(5)).sentence == "3 → 5: starts agent-4, agent-5."
        await world.do.scale(5, **ada())
        await world.settled(1, 2, 3, 4, 5)
        await world.do.scale(2, **ada())
        await world.settled(1, 2)
    drained = [subject for _, action, subject in await world.audited() if action == "drain"]
    assert sorted(drained) == ["agent-3", "agent-4", "agent-5"]


async def test_the_primary_is_never_scaled_away(world: World) -> None:
    world.fleet.loads = {1: 0, 2: 5, 3: 5}
    async with world.reconciling():
        await world.do.scale(1, **ada())
        await world.settled(1)


async def test_a_draining_agent_is_waited_for_with_its_turns_counted(world: World) -> None:
    world.fleet.loads, world.fleet.holds_drains = {2: 9, 3: 4}, True
    async with world.reconciling():
        await world.do.scale(2, **ada())

        async def said() -> bool:
            return any(it.words == "drains, 4 turns left" for it in (await world.do.state()).agents)

        await wait_until(said, of="the turns left")
        assert world.fleet.states[3] is MemberState.RUNNING
        world.fleet.holds_drains = False
        await world.settled(1, 2)


async def test_a_control_plane_that_is_started_anew_in_the_middle_goes_on(world: World) -> None:
    world.fleet.holds_drains = True
    async with world.reconciling():
        await world.do.scale(2, **ada())
        await wait_until(world.orders.unended, of="the order")
    world.start_over()
    world.fleet.holds_drains = False
    async with world.reconciling():
        await world.settled(1, 2)
    assert [action for _, action, _ in await world.audited()] == ["scale", "drain"]


async def test_the_last_of_two_operators_wins_and_both_are_told_by_the_row(world: World) -> None:
    async with world.reconciling():
        await asyncio.gather(world.do.scale(5, by="ada", key=uuid4()), world.do.scale(2, by="bob", key=uuid4()))
        last = (await world.do.state()).desired
        await world.settled(*last.slots)
    assert len([it for it in await world.audited() if it[1] == "scale"]) == 2
    assert last.number in (5, 2)


async def test_an_agent_that_died_is_started_and_one_that_crashes_is_shown_and_left_alone(world: World) -> None:
    async with world.reconciling():
        await world.fleet.kill(2)
        await world.settled(1, 2, 3)
        world.fleet.states[3] = MemberState.CRASHING
        world.fleet.details[3] = "exited: no such model"

        async def shown() -> bool:
            return any(it.words == "exited: no such model" for it in (await world.do.state()).agents)

        await wait_until(shown, of="the reason")
        assert ("start", 3) not in world.fleet.asked


async def test_a_fleet_that_fails_is_asked_again_later_and_people_see_why(world: World) -> None:
    async with world.reconciling():
        world.fleet.broken = FleetAway("The Docker daemon does not answer.")

        async def away() -> bool:
            return world.loop.away == "The Docker daemon does not answer."

        await wait_until(away, of="the reason")
        world.fleet.broken = None
        await world.do.scale(4, **ada())
        await world.settled(1, 2, 3, 4)
        assert world.loop.away == ""


async def test_an_order_whose_agent_vanished_does_not_drain_its_successor(world: World) -> None:
    world.fleet.holds_drains = True
    async with world.reconciling():
        await world.do.scale(2, **ada())
        await wait_until(world.orders.unended, of="the order")
        del world.fleet.states[3]
        await world.do.scale(3, **ada())
        world.fleet.holds_drains = False
        await world.settled(1, 2, 3)
    assert await world.orders.unended() == []


async def test_a_drained_agent_stops_rests_and_comes_back_with_a_restart(world: World) -> None:
    async with world.reconciling():
        order = await world.do.drain("agent-2", 5, **ada())
        assert (order.new, order.deadline_s, order.asked_by) == (True, 5, "ada")
        await world.settled(1, 3)
        assert (await world.do.state()).desired.resting == (2,)
        assert ("remove", 2) not in world.fleet.asked
        with pytest.raises(Conflict, match="does not run"):
            await world.do.drain("agent-2", 5, **ada())
        assert await world.do.restart("agent-2", **ada()) == "agent-2 restarted"
        await world.settled(1, 2, 3)


async def test_a_drained_primary_hands_its_seat_over_first(world: World) -> None:
    async with world.reconciling():
        await world.desired.change(
            lambda now: now.with_rest(1, rests=True), action="out of service", subject="agent-1", by="ada", key=uuid4()
        )
        await world.settled(2, 3)
    actions = [action for _, action, _ in await world.audited()]
    assert actions == ["out of service", "switchover", "drain"]


async def test_asked_again_a_drain_is_the_order_there_is(world: World) -> None:
    world.fleet.holds_drains = True
    first = await world.do.drain("agent-2", 5, by="ada", key=uuid4())
    second = await world.do.drain("agent-2", 9, by="bob", key=uuid4())
    assert (second.id, second.new, second.asked_by) == (first.id, False, "ada")
    assert [it for it in await world.audited() if it[1] == "drain"] == [("ada", "drain", "agent-2")]


async def test_each_request_counts_once_however_often_it_is_sent(world: World) -> None:
    key, other, third = uuid4(), uuid4(), uuid4()
    first = await world.do.drain("agent-2", 5, **ada(key))
    assert (await world.do.drain("agent-2", 5, **ada(key))).id == first.id
    scaled = await world.do.scale(5, **ada(other))
    await world.do.scale(3, **ada())
    assert await world.do.scale(5, **ada(other)) == scaled
    for _ in range(2):
        assert await world.do.stop("agent-3", **ada(third)) == "agent-3 stopped"
    assert world.fleet.asked.count(("stop", 3)) == 1


async def test_the_last_agent_is_neither_drained_nor_stopped(stores: Stores) -> None:
    async with a_world(stores, agents=1) as world:
        with pytest.raises(Conflict, match="last active agent"):
            await world.do.drain("agent-1", 5, **ada())
        with pytest.raises(Conflict, match="last active agent"):
            await world.do.stop("agent-1", **ada())
        actions = [action for _, action, _ in await world.audited()]
        assert actions == ["drain: refused", "stop: refused"]
        assert (await world.desired.read()).resting == ()


@pytest.mark.parametrize("number", [-1, 0, 10_000, 2.5, "four", "1_0", ""])
async def test_a_number_that_cannot_be_changes_nothing_and_is_audited(world: World, number: float | str) -> None:
    before = await world.desired.read()
    with pytest.raises(BadInput):
        await world.do.scale(number, **ada())
    with pytest.raises(BadInput):
        await world.do.preview(number)
    assert await world.desired.read() == before
    assert await world.audited() == [("ada", "scale: refused", str(number))]


async def test_an_unknown_agent_is_answered_with_those_there_are(world: World) -> None:
    for asked in (world.do.stop, world.do.restart):
        with pytest.raises(BadInput, match="there are: agent-1, agent-2, agent-3"):
            await asked("agent-9", **ada())
    with pytest.raises(BadInput, match="there are: agent-1"):
        await world.do.drain("../../etc", 5, **ada())
    with pytest.raises(BadInput, match="There is no agent"):
        await world.do.switchover("agent-9", **ada())


async def test_a_switchover_to_somebody_else_meanwhile_is_a_conflict(world: World) -> None:
    order = await world.do.switchover("agent-2", **ada())
    assert order.new
    with pytest.raises(Conflict, match=r"is under way|is the primary already"):
        await world.do.switchover("agent-2" if world.fleet.primary == 2 else "agent-3", by="bob", key=uuid4())


async def test_game_day_is_off_until_it_is_turned_on(world: World, stores: Stores) -> None:
    for asked in (world.do.kill("agent-2", **ada()), world.do.freeze("agent-2", 5, **ada())):
        with pytest.raises(Forbidden, match="GAME_DAY"):
            await asked
    assert world.fleet.asked == []
    assert [action for _, action, _ in await world.audited()] == ["kill: refused", "freeze: refused"]
    async with a_world(stores, game_day=True) as practising:
        assert await practising.do.kill("agent-2", **ada()) == "agent-2 killed"
        assert await practising.do.freeze("agent-3", 5, **ada()) == "agent-3 frozen for 5 s"
        with pytest.raises(BadInput, match="1 to 120 seconds"):
            await practising.do.freeze("agent-3", 1e9, **ada())
        assert practising.fleet.asked == [("kill", 2), ("freeze", 3)]
        told = [action for _, action, _ in await practising.audited()]
        assert told == ["kill", "kill: outcome", "freeze", "freeze: outcome", "freeze: refused"]


async def test_what_failed_is_audited_as_such(world: World) -> None:
    world.fleet.broken = FleetAway("The Docker daemon does not answer.")
    with pytest.raises(FleetAway):
        await world.do.restart("agent-2", **ada())
    rows = await world.sql("select detail from audit_log where action = 'restart: outcome'")
    assert rows[0]["detail"]["outcome"] == "failed: The Docker daemon does not answer."
