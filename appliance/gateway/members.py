"""Which agents the gateway sends people to. Only planned changes count: what merely fails, nginx sees first."""

import re

from appliance.core.records import Agent, ClusterView, Status
from appliance.gateway.nginx_config import Address

_SERVER = re.compile(r"^server (\S+):(\d+) max_fails", re.MULTILINE)


def members(view: ClusterView, current: frozenset[Address]) -> frozenset[Address]:
    """Join when active, leave when draining or gone; an agent that is suspected or starts again stays.

    An empty registry says nothing about agents (Redis may just have lost its data): the list stays as it is.
    """
    if not view.agents:
        return current
    return frozenset((agent.host, agent.port) for agent in view.agents if _belongs(agent, current))


def _belongs(agent: Agent, current: frozenset[Address]) -> bool:
    known = (agent.host, agent.port) in current
    return agent.port != 0 and (agent.status is Status.ACTIVE or (known and agent.status is not Status.DRAINING))


def listed(text: str) -> frozenset[Address]:
    """Read back what `upstream_list` wrote."""
    return frozenset((host, int(port)) for host, port in _SERVER.findall(text))
