"""Which agents come and go when another number is wished for, and why these. Pure; for page, API and command line."""

import msgspec

from appliance.core.desired_fleet import Desired, Wish, agent_id
from appliance.core.errors import BadInput
from appliance.core.records import Agent, ClusterView
from appliance.core.typed import whole


class Preview(msgspec.Struct, frozen=True):
    """What setting the number would do, before it is done."""

    wish: Wish
    sentence: str
    """For people, such as `2 → 4: starts agent-3, agent-4.`"""
    starts: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    """Agents that are drained, then removed, in this order."""


def preview(number: int, now: Desired, view: ClusterView | None) -> Preview:
    """Choose the slots for `number` agents and say what that does; `view` is None while Redis does not answer."""
    if number == now.number:
        return Preview(Wish(now.slots, now.resting), f"{number} agents are wished for already: nothing changes.")
    if number > now.number:
        free = [slot for slot in range(1, number + 1) if slot not in now.slots][: number - now.number]
        starts = tuple(map(agent_id, free))
        wish = Wish(tuple(sorted((*now.slots, *free))), now.resting)
        return Preview(wish, f"{now.number} → {number}: starts {', '.join(starts)}.", starts=starts)
    order = sorted(now.slots, key=lambda slot: _dearness(slot, now, view))
    leaving, kept = order[: now.number - number], sorted(order[now.number - number :])
    words = ", ".join(_why_it_leaves(slot, now, view, first=slot == leaving[0]) for slot in leaving)
    wish = Wish(tuple(kept), tuple(slot for slot in now.resting if slot in kept))
    return Preview(wish, f"{now.number} → {number}: drains {words}.", leaves=tuple(map(agent_id, leaving)))


def checked(number: float | str, *, at_most: int) -> int:
    """Return a number of agents that may be wished for, be it typed by a person.

    Raises:
        BadInput: it is no number, less than one or more than `at_most` (FLEET_MAX).
    """
    wanted = whole(number, means="say how many agents there should be")
    if wanted < 1:
        raise BadInput(f"{wanted} agents cannot be: at least one has to answer. `make down` stops all.")
    if wanted > at_most:
        raise BadInput(f"{wanted} agents are more than the {at_most} allowed here: the setting FLEET_MAX says so.")
    return wanted


def _dearness(slot: int, now: Desired, view: ClusterView | None) -> tuple[bool, bool, bool, int, int]:
    """Sort whom nobody misses first: who rests or does not run, then the least loaded, the primary last."""
    agent = _living(slot, view)
    load = agent.current_load if agent else 0
    return slot not in now.resting, _leads(slot, view), agent is not None, load, -slot


def _living(slot: int, view: ClusterView | None) -> Agent | None:
    found = view.agent(agent_id(slot)) if view else None
    return found if found and found.boot_alive else None


def _leads(slot: int, view: ClusterView | None) -> bool:
    return view is not None and view.primary_id == agent_id(slot)


def _why_it_leaves(slot: int, now: Desired, view: ClusterView | None, *, first: bool) -> str:
    name, agent = agent_id(slot), _living(slot, view)
    if agent is None:
        return f"{name} ({'does not run' if view else 'its load is not known'})"
    if _leads(slot, view):
        return f"{name} (the primary: hands its seat over first)"
    if slot in now.resting:
        return f"{name} (rests already)"
    return f"{name} (load {agent.current_load}{', the least' if first else ''})"
