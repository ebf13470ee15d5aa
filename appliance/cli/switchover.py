"""`nexus switchover`: the primary hands its seat over, on purpose."""

import asyncio
import time
from typing import Annotated

import typer

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, local_time, out
from appliance.cli.failures import LOOK_CLOSER
from appliance.cli.progress import Patience
from appliance.core.errors import Conflict
from appliance.core.order_rules import check_switchover
from appliance.core.orders import ANYBODY, SWITCHOVER_S, Order, Orders
from appliance.core.registry import Registry
from appliance.core.requests import Requests

LOOK_S = 0.05


def switchover(
    to: Annotated[str, typer.Option(help="Who follows, for example agent-2; without it the best one does.")] = ANYBODY,
    home: HomeOption = HOME,
) -> None:
    """Make another agent primary; nobody's answer is interrupted."""
    with Patience("handing the seat over"):
        outcome = asyncio.run(hand_over(Place(home), to))
    out.print(f"{outcome}.", markup=False)


async def hand_over(place: Place, to: str) -> str:
    """Order a switchover and return what became of it, a sentence without its full stop.

    Raises:
        BadInput: there is no such agent. Conflict: it cannot be, with the reason.
    """
    async with place.postgres() as postgres, place.redis() as redis:
        orders = Orders(redis, postgres)
        async with Requests(postgres).refusals("switchover", to, ADMIN):
            check_switchover(await Registry(redis).view(), to)
            order = await orders.switchover(to, by=ADMIN)
            if not order.new and order.agent_id != to:
                raise Conflict(
                    f"A switchover to {order.agent_id or 'the best agent'}, asked for by {order.asked_by} at "
                    f"{local_time(order.asked_at)}, is under way: wait until it has ended."
                )
        await orders.repeated(order, by=ADMIN)
        return outcome_of(await _ended(orders, order))


def outcome_of(ended: Order) -> str:
    """Return what became of an order, a sentence without its full stop; Conflict when it was not carried out."""
    if not ended.carried_out:
        raise Conflict(f"{ended.outcome[0].upper()}{ended.outcome[1:]}.")
    return ended.outcome


async def _ended(orders: Orders, order: Order) -> Order:
    """Wait for an order's end; take back one that nobody carries out, so that it cannot surprise anybody later."""
    deadline = time.monotonic() + SWITCHOVER_S
    while (now := await orders.read(order)).ended_at is None:
        if time.monotonic() > deadline:
            await orders.end(order, f"refused: nobody carried it out within {SWITCHOVER_S:.0f} s, {LOOK_CLOSER}")
        await asyncio.sleep(LOOK_S)
    return now
