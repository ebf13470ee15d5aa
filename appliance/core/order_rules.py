"""Which orders would help nobody or cannot be carried out, and why. Pure; for page, API and command line alike."""

from appliance.core.desired_fleet import Desired, Wish, agent_id, slot_of
from appliance.core.errors import BadInput, Conflict
from appliance.core.records import Agent, ClusterView, Status
from appliance.core.typed import seconds

MAX_DEADLINE_S = 3600.0


def deadline(typed: float | str) -> float:
    """Return the seconds that a drain may take; BadInput when they cannot be."""
    return seconds(typed, least=0, most=MAX_DEADLINE_S, means="a deadline has")


def known(view: ClusterView, agent: str) -> Agent:
    """Return the agent with this id; BadInput names those there are."""
    if found := view.agent(agent):
        return found
    there = ", ".join(it.id for it in view.agents) or "none"
    raise BadInput(f"There is no agent {agent!r}; there are: {there}.")


def check_drain(view: ClusterView, agent: str) -> None:
    """Refuse a drain that would help nobody; one that drains already may be asked again.

    Raises:
        BadInput: there is no such agent. Conflict: it does not run, or it is the last one that works.
    """
    found = known(view, agent)
    if not found.boot_alive:
        raise Conflict(f"{agent} does not run, so there is nothing to drain.")
    if found.status is not Status.DRAINING and not (_active(view) - {agent}):
        raise _last(agent)


def at_rest(now: Desired, agent: str, view: ClusterView) -> Wish:
    """Return the wish with an agent of the fleet out of service.

    The row decides: of two operators who take the last two agents out at the same moment, the second reads that the
    first one rests, and is refused.

    Raises:
        Conflict: no other agent that is wished for works.
    """
    slot = slot_of(agent)
    if slot is None or slot not in now.slots or slot in now.resting:
        return now
    if not _active(view) & (set(map(agent_id, now.working)) - {agent}):
        raise _last(agent)
    return now.with_rest(slot, rests=True)


def _active(view: ClusterView) -> set[str]:
    return {it.id for it in view.agents if it.boot_alive and it.status is Status.ACTIVE}


def _last(agent: str) -> Conflict:
    return Conflict(f"{agent} is the last active agent: without it nobody would answer. `make down` stops all.")


def check_switchover(view: ClusterView, to: str) -> None:
    """Refuse a switchover that cannot be carried out; `to` is '' for whoever is best.

    Raises:
        BadInput: there is no such agent. Conflict: it may not follow, with the reason.
    """
    if view.primary_id is None:
        raise Conflict("There is no primary whose seat could be handed over: `make doctor` says why.")
    if not to:
        if not any(why_not(agent, view) is None for agent in view.agents):
            raise Conflict("Nobody else may follow: " + "; ".join(_reasons(view)) + ".")
        return
    agent = known(view, to)
    if why := why_not(agent, view):
        raise Conflict(f"{to} cannot follow: {why}.")


def why_not(agent: Agent, view: ClusterView) -> str | None:
    """Return why an agent cannot be the next primary; None when it can."""
    if agent.id == view.primary_id:
        return f"{agent.id} is the primary already"
    if not agent.boot_alive:
        return f"{agent.id} does not run"
    return None if agent.electable else f"{agent.id} is {agent.role}, {agent.status}, and may not be elected"


def _reasons(view: ClusterView) -> list[str]:
    return [why for agent in view.agents if (why := why_not(agent, view))]
