"""What an operator asks for and is not given: a clear sentence, an audit row, a fleet that still works."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from appliance.core.errors import BadInput, Conflict
from appliance.core.order_rules import at_rest
from tests.stores import Stores
from tests.worlds import World, a_world, ada

WIDE_SIX = "\N{FULLWIDTH DIGIT SIX}"
Asking = Callable[[World, str, str], Awaitable[Any]]


async def drains(world: World, agent: str, by: str) -> Any:
    return await world.do.drain(agent, 5, **ada() | {"by": by})


async def stops(world: World, agent: str, by: str) -> Any:
    return await world.do.stop(agent, **ada() | {"by": by})


async def scales_to_one(world: World, _: str, by: str) -> Any:
    return await world.do.scale(1, **ada() | {"by": by})


@pytest.mark.parametrize("second", [drains, stops, scales_to_one], ids=lambda it: it.__name__)
@pytest.mark.parametrize("first", [drains, stops], ids=lambda it: it.__name__)
async def test_two_operators_at_once_never_leave_nobody(stores: Stores, first: Asking, second: Asking) -> None:
    async with a_world(stores, agents=2) as world:
        outcomes = await asyncio.gather(
            first(world, "agent-1", "ada"), second(world, "agent-2", "bob"), return_exceptions=True
        )
        left = (await world.desired.read()).working
        assert len(left) == 1, outcomes
        refused = [it for it in outcomes if isinstance(it, BaseException)]
        assert all(isinstance(it, Conflict) and "last active agent" in str(it) for it in refused)
        assert len(refused) == len(await world.unmet())


async def test_the_row_refuses_the_last_one_whatever_was_seen_before(stores: Stores) -> None:
    """Both operators looked before either had asked."""
    async with a_world(stores, agents=2) as world:
        seen = await world.registry.view()
        await world.do.drain("agent-1", 5, **ada())
        with pytest.raises(Conflict, match="agent-2 is the last active agent"):
            at_rest(await world.desired.read(), "agent-2", seen)
        assert at_rest(await world.desired.read(), "agent-1", seen).resting == (1,), "asked again it may go on"


async def test_a_drain_asked_for_twice_is_one_order_and_two_audit_rows(stores: Stores) -> None:
    async with a_world(stores, agents=2) as world:
        world.fleet.holds_drains = True
        await drains(world, "agent-2", "ada")
        assert not (await drains(world, "agent-2", "bob")).new
        told = [it for it in await world.audited() if it[1].startswith("drain")]
        assert told == [("ada", "drain", "agent-2"), ("bob", "drain: under way", "agent-2")]


@pytest.mark.parametrize("typed", ["soon", "", "-1", "1_0", WIDE_SIX, "3601", "nan", -1, 1e9, float("nan")])
async def test_a_deadline_that_cannot_be_is_refused_and_audited(stores: Stores, typed: float | str) -> None:
    async with a_world(stores, agents=2) as world:
        with pytest.raises(BadInput, match="a deadline has 0 to 3600 seconds"):
            await world.do.drain("agent-2", typed, **ada())
        assert await world.audited() == [("ada", "drain: refused", "agent-2")]
        assert (await world.desired.read()).resting == ()


@pytest.mark.parametrize("typed", ["soon", "", "0", "-1", "121", "1_0"])
async def test_a_time_of_freezing_that_cannot_be_is_refused_and_audited(stores: Stores, typed: str) -> None:
    async with a_world(stores, agents=2, game_day=True) as world:
        with pytest.raises(BadInput, match="an agent can be frozen for 1 to 120 seconds"):
            await world.do.freeze("agent-2", typed, **ada())
        assert await world.audited() == [("ada", "freeze: refused", "agent-2")]
        assert world.fleet.asked == []
