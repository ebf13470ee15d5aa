"""Whom Prometheus asks: the agents as the registry knows them, so that scaling needs no configuration (http_sd)."""

from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from appliance.core.records import ClusterView, Status
from appliance.core.registry import Registry
from appliance.web.protection import PUBLIC

Agents = NamedDependency[SkipValidation[Registry]]


@get("/sd", opt={PUBLIC: True}, include_in_schema=False)
async def targets(registry: Agents) -> list[dict[str, Any]]:
    """The agents' addresses. Only this port answers it: the gateway passes on what begins with /control.

    Raises:
        StoreAway: Redis is away; Prometheus goes on with the list it had.
    """
    return targets_of(await registry.view())


def targets_of(view: ClusterView) -> list[dict[str, Any]]:
    """List every agent that did not leave on purpose, so that a dead one is seen to be down."""
    return [
        {"targets": [f"{agent.host}:{agent.port}"], "labels": {"agent": agent.id}}
        for agent in view.agents
        if agent.port and (agent.boot_alive or agent.status is not Status.DRAINING)
    ]
