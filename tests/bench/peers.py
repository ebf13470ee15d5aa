"""Clusters that replace whoever may act, under one face, so that the same kill and the same clock measure all."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import msgspec

from appliance.core.clock import monotonic
from appliance.core.errors import StoreAway
from appliance.core.records import Lease
from tests.cluster import Cluster, running_cluster
from tests.waiting import wait_until


class Holder(msgspec.Struct, frozen=True):
    """Who may act now, and the processes to hurt."""

    name: str
    pids: tuple[int, ...]


class Peer(Protocol):
    """A cluster of three in which one may act."""

    async def holder(self) -> Holder:
        """Return who may act now."""

    async def replaced(self, lost: Holder) -> bool:
        """Whether everybody can see that another may act."""

    async def writes(self) -> bool:
        """Whether a write of the new one is accepted; asked after `replaced`."""

    async def mend(self, lost: Holder, fault: signal.Signals) -> None:
        """Bring the lost one back and return once the cluster is whole."""


def hurt(holder: Holder, number: signal.Signals) -> float:
    """Send a signal to all processes of one holder; return when, on the monotonic clock all figures use."""
    began = monotonic()
    for pid in holder.pids:
        with suppress(ProcessLookupError):  # a runner dies with its keeper
            os.kill(pid, number)
    return began


class Nexus:
    """Three agents on real stores; the registry's lease says who may act."""

    def __init__(self, cluster: Cluster, fence: Any) -> None:
        self._cluster = cluster
        self._fence = fence
        self._lease: Lease | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["Nexus"]:
        """Start it and stop it again."""
        async with running_cluster(3) as cluster, cluster.sql() as connection:
            await connection.set_autocommit(True)
            await connection.execute("create table fenced_writes(epoch bigint)")
            peer = cls(cluster, connection)
            await peer._whole()
            yield peer

    async def holder(self) -> Holder:
        view = await self._cluster.view()
        agent = await self._cluster.agent(str(view.primary_id))
        return Holder(agent.id, (agent.keeper_pid, agent.runner_pid))

    async def replaced(self, lost: Holder) -> bool:
        with suppress(StoreAway):
            self._lease = (await self._cluster.view()).lease
        return self._lease is not None and self._lease.holder != lost.name

    async def writes(self) -> bool:
        """Write as every authoritative write is made: only while PostgreSQL holds the lease's epoch (PROTOCOLS 6.2)."""
        assert self._lease is not None
        done = await self._fence.execute(
            "with fence as (select 1 from cluster_epoch where id = 1 and epoch = %(epoch)s for share)"
            " insert into fenced_writes select %(epoch)s from fence",
            {"epoch": self._lease.epoch},
        )
        return bool(done.rowcount)

    async def mend(self, lost: Holder, fault: signal.Signals) -> None:
        if fault is signal.SIGKILL:
            await self._cluster.terminate(lost.name)  # reaps it
            self._cluster.start_agent(lost.name)
        else:
            hurt(lost, signal.SIGCONT)
        await self._whole()

    async def _whole(self) -> None:
        await self._cluster.until_active(3)
        await wait_until(self._stands, of="a primary whose epoch is in force")

    async def _stands(self) -> bool:
        lease = (await self._cluster.view()).lease
        row = await self._cluster.postgres.row("cluster_epoch")
        return lease is not None and row is not None and row["epoch"] == lease.epoch
