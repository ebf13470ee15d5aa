"""Which agents the gateway sends people to. Only planned changes count: what merely fails, nginx sees first."""

import re
from enum import IntEnum

from appliance.core.records import Agent, ClusterView, Role, Status
from appliance.gateway.nginx_config import Address

_SERVER = re.compile(r"^server (\S+):(\d+) max_fails", re.MULTILINE)


def members(view: ClusterView, current: frozenset[Address]) -> frozenset[Address]:
    """Join when active, leave when draining or gone; an agent that is suspected or starts again stays.

    A standby is listed while no ordinary agent lives, one that drains while nobody else does.
    An empty registry says nothing about agents (Redis may just have lost its data): the list stays as it is.
    """
    if not view.agents:
        return current
    serving = [agent for agent in view.agents if _serves(agent, current)]
    resort = min((_resort(agent) for agent in serving if agent.boot_alive), default=Resort.LAST)
    return frozenset((agent.host, agent.port) for agent in serving if _resort(agent) <= resort)


class Resort(IntEnum):
    """How willingly people are sent to an agent."""

    FIRST = 0
    STANDBY = 1
    LAST = 2  #: it drains: it still serves, but takes no work


def _resort(agent: Agent) -> Resort:
    if agent.status is Status.DRAINING:
        return Resort.LAST
    return Resort.STANDBY if agent.role is Role.STANDBY else Resort.FIRST


def _serves(agent: Agent, current: frozenset[Address]) -> bool:
    known = (agent.host, agent.port) in current
    return agent.port != 0 and (known or agent.status in (Status.ACTIVE, Status.DRAINING))


def listed(text: str) -> frozenset[Address]:
    """Read back what `upstream_list` wrote."""
    return frozenset((host, int(port)) for host, port in _SERVER.findall(text))
