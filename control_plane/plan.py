"""From what is wished and what is there to what happens next, with its reason. Pure."""

from enum import StrEnum

import msgspec

from appliance.core.desired_fleet import Desired, agent_id
from appliance.core.orders import Order
from appliance.core.records import Agent, ClusterView, Status
from control_plane.fleet import Member, MemberState


class Seen(msgspec.Struct, frozen=True):
    """One reading of the three things that are compared, and the orders that are open or ended a moment ago."""

    desired: Desired
    members: tuple[Member, ...]
    view: ClusterView | None
    """None while Redis does not answer."""
    orders: tuple[Order, ...] = ()

    def member(self, agent: str) -> Member | None:
        """Return an agent as a program."""
        return next((it for it in self.members if it.agent_id == agent), None)

    def agent(self, agent: str) -> Agent | None:
        """Return an agent's own record while its boot is alive."""
        found = self.view.agent(agent) if self.view else None
        return found if found and found.boot_alive else None

    def drain_of(self, agent: str) -> Order | None:
        """Return the open order to drain it."""
        return next((it for it in self._drains_of(agent) if it.ended_at is None), None)

    def drained_just_now(self, agent: str) -> bool:
        """Whether an order to drain it was carried out a moment ago, so that its record may not say so yet."""
        return any(it.ended_at and it.carried_out for it in self._drains_of(agent))

    def _drains_of(self, agent: str) -> list[Order]:
        return [it for it in self.orders if it.kind == "drain" and it.agent_id == agent]

    @property
    def staying(self) -> list[Agent]:
        """Agents that serve now and are to go on."""
        running = {it.slot for it in self.members if it.state is MemberState.RUNNING}
        ours = [self.agent(agent_id(slot)) for slot in self.desired.working if slot in running]
        return [it for it in ours if it and it.status is Status.ACTIVE]


class Act(StrEnum):
    """What can be done to an agent next."""

    START = "start"
    RESTART = "restart"
    SWITCH_OVER = "switch over"
    DRAIN = "drain"
    STOP = "stop"
    REMOVE = "remove"
    WAIT = "wait"


class Step(msgspec.Struct, frozen=True):
    """What happens to an agent next, and why; `other` is who follows in a switchover."""

    act: Act
    agent_id: str
    slot: int
    why: str
    other: str = ""


def steps(seen: Seen) -> tuple[Step, ...]:
    """Return what brings the fleet nearer to the wish; every step may be repeated, and may be done at the same time."""
    slots = {*seen.desired.slots, *(member.slot for member in seen.members)}
    found = (_next(slot, seen) for slot in sorted(slots))
    return tuple(step for step in found if step)


def _next(slot: int, seen: Seen) -> Step | None:
    if slot in seen.desired.working:
        return _towards_work(slot, seen)
    member = seen.member(agent_id(slot))
    rests = slot in seen.desired.resting
    if member is None or (rests and member.state is MemberState.STOPPED):
        return None
    return _towards_rest(slot, member, seen, Act.STOP if rests else Act.REMOVE)


def _towards_work(slot: int, seen: Seen) -> Step | None:
    name = agent_id(slot)
    member, agent = seen.member(name), seen.agent(name)
    if member is None or member.state is MemberState.STOPPED:
        return Step(Act.START, name, slot, "is wished for and does not run")
    if member.state is MemberState.CRASHING:
        return Step(Act.WAIT, name, slot, member.detail or "ends by itself soon after each start")
    if agent is None or agent.status is not Status.DRAINING or member.state is not MemberState.RUNNING:
        return None
    if seen.drain_of(name):
        return Step(Act.WAIT, name, slot, f"is wished for again, but still drains ({agent.current_load} turns left)")
    return Step(Act.RESTART, name, slot, "has drained and is wished for again")


def _towards_rest(slot: int, member: Member, seen: Seen, end: Act) -> Step:
    name = agent_id(slot)
    agent = seen.agent(name)
    if member.state is MemberState.LEAVING:
        return Step(Act.WAIT, name, slot, "stops")
    if why := _why_it_may_end(member, agent, seen):
        return Step(end, name, slot, why)
    if agent is None:
        return Step(Act.WAIT, name, slot, "Redis does not answer: nobody can be drained")
    if seen.drain_of(name):
        return Step(Act.WAIT, name, slot, f"drains, {agent.current_load} turns left")
    if seen.drained_just_now(name):
        return Step(Act.WAIT, name, slot, "has drained, and will say so in a moment")
    return _out_of_service(slot, agent, seen)


def _why_it_may_end(member: Member, agent: Agent | None, seen: Seen) -> str | None:
    """Return why nothing is lost when a member ends; None when something would be."""
    if member.state in (MemberState.STOPPED, MemberState.CRASHING):
        return "does not run"
    if seen.view is not None and agent is None:
        return "runs nothing that could be drained"
    drained = agent is not None and agent.status is Status.DRAINING and not seen.drain_of(agent.id)
    return "has drained" if drained else None


def _is_primary(slot: int, seen: Seen) -> bool:
    return seen.view is not None and seen.view.primary_id == agent_id(slot)


def _out_of_service(slot: int, agent: Agent, seen: Seen) -> Step:
    if not seen.staying:
        return Step(Act.WAIT, agent.id, slot, "is the last that answers: it leaves when another one does")
    if not _is_primary(slot, seen):
        return Step(Act.DRAIN, agent.id, slot, f"is not wished for any more (load {agent.current_load})")
    if any(it.kind == "switchover" and it.ended_at is None for it in seen.orders):
        return Step(Act.WAIT, agent.id, slot, "is the primary, and hands its seat over")
    heir = min((it for it in seen.staying if it.electable), key=lambda it: it.current_load, default=None)
    if heir is None:
        return Step(Act.WAIT, agent.id, slot, "is the primary, and nobody who stays may follow")
    return Step(Act.SWITCH_OVER, agent.id, slot, f"is the primary: {heir.id} takes its seat first", other=heir.id)


def in_flight(seen: Seen) -> bool:
    """Whether the fleet is on its way to the wish; one that only crashes or cannot leave counts as on its way, too."""
    wanted = set(map(agent_id, seen.desired.working))
    serving = {it.id for it in seen.staying}
    return bool(steps(seen)) or wanted != serving
