"""How far the fleet is on its way to what is wished, agent by agent, in words. Pure."""

from collections.abc import Mapping

import msgspec

from appliance.core.desired_fleet import Desired, agent_id
from appliance.core.records import Status
from control_plane.fleet import Member, MemberState
from control_plane.plan import Seen, Step, in_flight, steps
from control_plane.reconcile import Trouble


class AgentProgress(msgspec.Struct, frozen=True):
    """One agent: what is wished of it, and how far it is."""

    agent_id: str
    wanted: bool
    """Whether it should serve; a resting one and one that is scaled away should not."""
    resting: bool
    words: str
    """`serves`, `starts`, `drains, 3 turns left`, `crashes: …`, `rests`."""
    load: int | None = None
    """Turns it runs; null while it serves nobody or Redis is away."""
    trouble: str = ""
    """Why the last step could not be done; it is tried again."""


class FleetState(msgspec.Struct, frozen=True):
    """The whole fleet."""

    desired: Desired
    members: tuple[Member, ...]
    plan: tuple[Step, ...]
    """What happens next, with reasons; [] when nothing has to be done."""
    agents: tuple[AgentProgress, ...]
    settled: bool
    """Whether exactly the agents that are wished for serve."""


def state_of(seen: Seen, troubles: Mapping[str, Trouble]) -> FleetState:
    """Put one reading in words."""
    plan = steps(seen)
    next_of = {step.agent_id: step for step in plan}
    slots = sorted({*seen.desired.slots, *(member.slot for member in seen.members)})
    agents = tuple(_progress(slot, seen, next_of.get(agent_id(slot)), troubles) for slot in slots)
    return FleetState(seen.desired, seen.members, plan, agents, settled=not in_flight(seen))


def _progress(slot: int, seen: Seen, step: Step | None, troubles: Mapping[str, Trouble]) -> AgentProgress:
    name = agent_id(slot)
    agent, trouble = seen.agent(name), troubles.get(name)
    return AgentProgress(
        agent_id=name,
        wanted=slot in seen.desired.working,
        resting=slot in seen.desired.resting,
        words=_words(slot, seen, step),
        load=agent.current_load if agent else None,
        trouble=trouble.why if trouble else "",
    )


def _words(slot: int, seen: Seen, step: Step | None) -> str:
    name = agent_id(slot)
    member, agent = seen.member(name), seen.agent(name)
    if step is not None:
        return step.why
    if member is None or member.state is MemberState.STOPPED:
        return "rests"
    if member.state is not MemberState.RUNNING:
        return f"{member.state}{f': {member.detail}' if member.detail else ''}"
    if seen.view is None:
        return "runs; Redis does not say more"
    return "serves" if agent and agent.status is Status.ACTIVE else "starts"
