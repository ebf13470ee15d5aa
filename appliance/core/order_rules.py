"""Which orders would help nobody or cannot be carried out, and why. Pure; for page, API and command line alike."""

from appliance.core.errors import BadInput, Conflict
from appliance.core.records import Agent, ClusterView, Status


def known(view: ClusterView, agent_id: str) -> Agent:
    """Return the agent with this id; BadInput names those there are."""
    if agent := view.agent(agent_id):
        return agent
    there = ", ".join(agent.id for agent in view.agents) or "none"
    raise BadInput(f"There is no agent {agent_id!r}; there are: {there}.")


def check_drain(view: ClusterView, agent_id: str) -> None:
    """Refuse a drain that would help nobody.

    Raises:
        BadInput: there is no such agent. Conflict: it does not run, or it is the last one that works.
    """
    agent = known(view, agent_id)
    if not agent.boot_alive:
        raise Conflict(f"{agent_id} does not run, so there is nothing to drain.")
    others = [it.id for it in view.agents if it.id != agent_id and it.boot_alive and it.status is Status.ACTIVE]
    if not others:
        raise Conflict(f"{agent_id} is the last active agent: without it nobody would answer. `make down` stops all.")


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
