"""`nexus drain`: an agent finishes or hands back what it runs, then its program stops; no turn is lost."""

import asyncio
import time
from contextlib import suppress
from typing import Annotated
from uuid import uuid4

import typer

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, local_time, make, out
from appliance.cli.embedded import refuse_frozen_manager
from appliance.cli.failures import LOOK_CLOSER
from appliance.cli.progress import Patience
from appliance.cli.switchover import outcome_of
from appliance.core import order_rules as rules
from appliance.core.desired_fleet import Desired, DesiredFleet, Wish
from appliance.core.errors import Conflict, NotFound, StoreAway
from appliance.core.orders import Order, Orders
from appliance.core.records import ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.requests import Requests

LOOK_S = 0.1
GRACE_S = 20.0
"""Beyond its deadline an order is waited for this long: its agent hands back, then says so."""


def drain(
    agent: Annotated[str, typer.Argument(help="Which one, for example agent-2.")],
    deadline: Annotated[str, typer.Option(help="Seconds its turns may take to finish, 0 to 3600.")] = "60",
    home: HomeOption = HOME,
) -> None:
    """Take an agent out of service: nothing new, running turns finish or are handed back, then it stops."""
    place = Place(home)
    refuse_frozen_manager(place.home)
    with Patience(f"draining {agent}") as patience:
        outcome = asyncio.run(_drain(place, agent, deadline, patience))
        out.print(f"{agent} {outcome}.", markup=False)
        patience.what = f"stopping {agent}"
        place.runtime.stop(place.home, agent)
    out.print(f"{agent} is stopped; `{make('up', place.home)}` starts it again.", markup=False)


async def _drain(place: Place, agent_id: str, deadline_s: float | str, patience: Patience) -> str:
    """Give the order, or follow the one there is, to its end; return the outcome."""
    async with place.postgres() as postgres, place.redis() as redis:
        orders = Orders(redis, postgres)
        async with Requests(postgres).refusals("drain", agent_id, ADMIN):
            within_s, view = rules.deadline(deadline_s), await Registry(redis).view()
            rules.check_drain(view, agent_id)
            await _rest(DesiredFleet(postgres), agent_id, view)
            order = await orders.drain(agent_id, deadline_s=within_s, by=ADMIN)
        await orders.repeated(order, by=ADMIN)
        if not order.new:
            asked = f"{order.asked_by} asked for that at {local_time(order.asked_at)}"
            out.print(f"{agent_id} is draining already ({asked}): following that order.", markup=False)
        try:
            ended = await _follow(orders, order, Progress(redis, agent_id, patience))
        except asyncio.CancelledError:
            again = make(f"drain A={agent_id}", place.home)
            out.print(f"\nThe order stands: {agent_id} goes on draining. `{again}` follows it, and stops the agent.")
            raise
    if ended.ended_at is None:
        late = f"{agent_id} has not drained {GRACE_S:.0f} s after its deadline"
        raise Conflict(f"{late}; the order stands, {LOOK_CLOSER}.")
    return outcome_of(ended)


async def _rest(fleet: DesiredFleet, agent: str, view: ClusterView) -> None:
    """Say that the agent is out of service on purpose, so that the control plane stops it and starts it no more."""

    def choose(now: Desired) -> Wish:
        return rules.at_rest(now, agent, view)

    with suppress(NotFound):  # nobody ever wished for a number: nobody starts it again either
        await fleet.change(choose, action="out of service", subject=agent, by=ADMIN, key=uuid4())


async def _follow(orders: Orders, order: Order, progress: "Progress") -> Order:
    """Return the order once it has ended, or as it is when that takes too long."""
    give_up = time.monotonic() + order.deadline_s + GRACE_S
    while (now := await orders.read(order)).ended_at is None and time.monotonic() < give_up:
        await progress.look()
        await asyncio.sleep(LOOK_S)
    return now


class Progress:
    """Says how many turns are left, whenever that changes."""

    def __init__(self, redis: Redis, agent_id: str, patience: Patience) -> None:
        self._registry = Registry(redis)
        self._agent_id = agent_id
        self._patience = patience
        self._most = 0
        self._left: int | None = None

    async def look(self) -> None:
        """Read the agent's load; while Redis is away nothing new is known."""
        try:
            agent = (await self._registry.view()).agent(self._agent_id)
        except StoreAway:
            return
        if agent is None or agent.current_load == self._left:
            return
        self._left, self._most = agent.current_load, max(self._most, agent.current_load)
        self._patience.what = f"draining {self._agent_id}, {turns_left(self._left, self._most)},"
        if self._most:
            out.print(f"  {turns_left(self._left, self._most)}", markup=False)
            self._patience.spoke()


def turns_left(left: int, of: int) -> str:
    """Return `3 of 7 turns left`."""
    return f"{left} of {of} turns left"
