"""`nexus scale`: another number of agents; the control plane carries it out, this command wishes and watches."""

import asyncio
import time
from contextlib import nullcontext
from typing import Annotated
from uuid import uuid4

import typer

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, make, out
from appliance.cli.embedded import refuse_frozen_manager
from appliance.cli.failures import LOOK_CLOSER
from appliance.cli.progress import Patience
from appliance.core.desired_fleet import Desired, DesiredFleet, Wish, agent_id, slot_of
from appliance.core.errors import CannotStart, Conflict, StoreAway
from appliance.core.records import ClusterView, Status
from appliance.core.registry import Registry
from appliance.core.requests import Requests
from appliance.core.scaling import checked, preview

LOOK_S = 0.2
WITHIN_S = 180.0
"""A start takes seconds, a drain up to a minute; then something is wrong."""


def scale(
    number: Annotated[str, typer.Argument(help="How many agents there should be.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    home: HomeOption = HOME,
) -> None:
    """Set the number of agents: more are started, surplus ones drained, the least loaded first, then stopped."""
    place = Place(home)
    refuse_frozen_manager(place.home)
    with Patience("looking") as patience:
        asyncio.run(_scale(place, number, patience, dry_run=dry_run))


async def _scale(place: Place, number: str, patience: Patience, *, dry_run: bool) -> None:
    """Say what it means, wish for it unless `dry_run`, and follow until the agents are those that are wished for."""
    async with place.postgres() as postgres, place.redis() as redis:
        fleet, registry = DesiredFleet(postgres), Registry(redis)
        async with nullcontext() if dry_run else Requests(postgres).refusals("scale", number, ADMIN):
            wanted = checked(number, at_most=place.settings.fleet_max)
        view = await _view(registry)
        out.print(preview(wanted, await fleet.read(), view).sentence, markup=False)
        if dry_run:
            return
        if not place.runtime.is_running(place.home, "control-plane"):
            raise CannotStart(f"The control plane, which starts and drains agents, does not run: {LOOK_CLOSER}.")

        def choose(now: Desired) -> Wish:
            return preview(wanted, now, view).wish

        await fleet.change(choose, action="scale", subject=str(wanted), by=ADMIN, key=uuid4())
        patience.what = "scaling"
        try:
            done = await _follow(fleet, registry, patience)
        except asyncio.CancelledError:
            look = make("status", place.home)
            out.print(f"\nThe wish stands: the control plane goes on. `{look}` shows how far it is.", markup=False)
            raise
    out.print(f"{done.number} agents serve.", markup=False)


async def _follow(fleet: DesiredFleet, registry: Registry, patience: Patience) -> Desired:
    """Return the wish once it is fulfilled; it may have become another one meanwhile.

    Raises:
        Conflict: it takes too long, with the agents that are not as wished for.
    """
    give_up, said = time.monotonic() + WITHIN_S, dict[str, str]()
    while True:
        desired, view = await fleet.read(), await _view(registry)
        now = {} if view is None else words_of(desired, view)
        for agent, words in now.items():
            if said.get(agent, "serves") != words:
                out.print(f"  {agent} {words}", markup=False)
                patience.spoke()
        said = now or said
        late = [f"{agent} {words}" for agent, words in said.items() if words not in ("serves", "rests")]
        if now and not late:
            return desired
        if time.monotonic() > give_up:
            why = "; ".join(late) or "Redis does not answer"
            raise Conflict(f"Not as wished for after {WITHIN_S:.0f} s ({why}); the wish stands, {LOOK_CLOSER}.")
        await asyncio.sleep(LOOK_S)


async def _view(registry: Registry) -> ClusterView | None:
    try:
        return await registry.view()
    except StoreAway:
        return None


def words_of(desired: Desired, view: ClusterView) -> dict[str, str]:
    """Return for each agent that is wished for or lives how far it is; one that has left is not named. Pure."""
    living = {it.id: it for it in view.agents if it.boot_alive}
    surplus = [it for it in living if (slot := slot_of(it)) and slot not in desired.slots]
    found = {}
    for name in (*map(agent_id, desired.slots), *surplus):
        agent = living.get(name)
        if agent is None:
            found[name] = "rests" if slot_of(name) in desired.resting else "starts"
        elif agent.status is Status.DRAINING:
            found[name] = f"drains, {agent.current_load} turns left"
        elif name in surplus:
            found[name] = "is to be drained"
        else:
            found[name] = "serves" if agent.status is Status.ACTIVE else "starts"
    return found
