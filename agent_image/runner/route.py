"""Which way a turn goes that was just sent, and why (DESIGN 6.2). Pure.

What it hands to others, its sub-agents, are tasks of their own: what these need of an agent is said by their plan.
"""

from typing import Literal

import msgspec

from appliance.core.task_ledger import ORCHESTRATE

Way = Literal["direct", "distributed", "orchestrate"]
"""This runner claims the row as it accepts it; any agent takes it; the primary takes it."""


class Here(msgspec.Struct, frozen=True):
    """How this runner stands."""

    leads: bool
    """It is the primary's."""
    sees_redis: bool
    takes: bool
    """It takes turns at all: it is no standby, does not leave, and runs no suspect alone."""
    free: int
    """Turns it has room for."""


class Route(msgspec.Struct, frozen=True):
    """A way and its reason, in words without a full stop."""

    way: Way
    reason: str


def route(role: str, here: Here) -> Route:
    """Return the way of a turn with this role."""
    if role == ORCHESTRATE and not here.leads:
        return Route("orchestrate", "its plan is carried out by the primary")
    if not here.sees_redis:
        return Route("distributed", "this agent does not reach Redis")
    if not here.takes:
        return Route("distributed", "this agent takes no turns now")
    if here.free <= 0:
        return Route("distributed", "this agent is full")
    return Route("direct", "this agent has room")
