"""Has a cluster come to rest? What everybody believes, put side by side (I16)."""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from appliance.core.errors import NexusError
from appliance.core.records import Agent, ClusterView, Role
from appliance.core.registry import Registry
from appliance.gateway.members import listed as routes

OVERDUE_S = 5.0
"""A due turn that nobody took for so long has been forgotten. A task may well wait behind thousands."""


async def what_is_not_whole(
    sql: psycopg.AsyncConnection[Any], registry: Registry, keepers: Mapping[str, int], listed: Callable[[], str] | None
) -> list[str]:
    """Return what disagrees, in words; nothing when the cluster is whole.

    `keepers` are the agents that live, with the process ids of their keepers; `listed` is the gateway's list.
    """
    try:
        view = await registry.view()
    except NexusError as error:
        return [f"the registry cannot be read: {error}"]
    wrong = [*_members(view, keepers), *await _buried(sql, view), *await _primary(sql, view), *await _ledger(sql)]
    return wrong + (_routes(view, listed()) if listed else [])


def _members(view: ClusterView, keepers: Mapping[str, int]) -> list[str]:
    alive = {agent.id: agent for agent in view.agents if agent.boot_alive}
    wrong = [f"{name} is not in the registry" for name in keepers if name not in alive]
    wrong += [f"{name} is in the registry and has ended" for name in alive if name not in keepers]
    return wrong + [
        f"{name} {trouble}" for name, agent in alive.items()
        if name in keepers and (trouble := _trouble(agent, keepers[name]))
    ]  # fmt: skip


def _trouble(agent: Agent, keeper: int) -> str:
    if agent.keeper_pid != keeper:
        return f"is known with keeper {agent.keeper_pid}, but is {keeper}"
    if agent.status != "active":
        return f"is {agent.status}"
    return "" if agent.can_vote else "cannot vote"


async def _buried(sql: psycopg.AsyncConnection[Any], view: ClusterView) -> list[str]:
    """A boot that comes back after its burial looks alive until its keeper learns of it."""
    boots = [agent.boot for agent in view.agents if agent.boot_alive]
    dead = await (await sql.execute(
        "select agent_id from boots where boot::text = any(%s) and dead_at is not null", [boots]
    )).fetchall()  # fmt: skip
    return [f"the boot of {row['agent_id']} is buried" for row in dead]


async def _primary(sql: psycopg.AsyncConnection[Any], view: ClusterView) -> list[str]:
    lease, term = view.lease, await (await sql.execute("select * from cluster_epoch where id = 1")).fetchone()
    assert term is not None
    if lease is None:
        return ["nobody holds the lease"]
    wrong = []
    if (lease.holder, lease.boot, lease.epoch) != (term["primary_id"], str(term["boot"]), term["epoch"]):
        wrong.append(f"the lease is {lease}, the term in force {term['epoch']} of {term['primary_id']}")
    primaries = [agent.id for agent in view.agents if agent.boot_alive and agent.is_primary]
    if primaries != [lease.holder]:
        wrong.append(f"{primaries} say that they are primary, {lease.holder} holds the lease")
    behind = [agent.id for agent in view.agents if agent.boot_alive and agent.config_epoch != lease.epoch]
    return wrong + [f"{name} does not know epoch {lease.epoch}" for name in behind]


async def _ledger(sql: psycopg.AsyncConnection[Any]) -> list[str]:
    orphans = await (await sql.execute(
        "select t.id from tasks t join boots b on b.boot = t.owner_boot where t.state = 'running'"
        " and b.dead_at is not null"
    )).fetchall()  # fmt: skip
    forgotten = await (await sql.execute(
        "select id from tasks where state = 'queued' and kind = 'conversation'"
        " and due_at < now() - make_interval(secs => %s)", [OVERDUE_S]
    )).fetchall()  # fmt: skip
    return [f"turn {row['id']} runs on a dead boot" for row in orphans] + [
        f"turn {row['id']} is due and nobody takes it" for row in forgotten
    ]


def _routes(view: ClusterView, listed: str) -> list[str]:
    wanted = {(agent.host, agent.port) for agent in view.agents if agent.boot_alive and agent.role is not Role.STANDBY}
    found = routes(listed)
    return [] if found == wanted else [f"the gateway sends people to {sorted(found)}, agents are {sorted(wanted)}"]
