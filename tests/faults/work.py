"""Tasks on a row's cluster: published, looked at while they run, audited afterwards."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from tests.boards import KINDS, Boarded, board_of
from tests.cluster import Cluster, running_cluster
from tests.faults.auditor_tasks import claims_of_classes
from tests.faults.facts import Facts
from tests.faults.scene import Scene
from tests.waiting import wait_until

AGENTS, SLOTS = 3, 17
"""51 tasks run at once."""
WORKING = {"TASK_MODULES": KINDS, "CLUSTER_MAX_TASKS": str(SLOTS), "CLUSTER_DRAIN_TIMEOUT": "4"}
working = partial(running_cluster, AGENTS, **WORKING)


class Work:
    """What the ledger says of tasks, with moments on this process's clock."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        async with self._scene.cluster.sql() as sql:
            return list(await (await sql.execute(query.encode(), values)).fetchall())

    async def running(self, ids: Sequence[str], count: int) -> None:
        """Wait until so many of these tasks run at the same time."""

        async def run() -> bool:
            return len(await self.of(ids)) >= count

        await wait_until(run, of=f"{count} running tasks")

    async def of(self, ids: Sequence[str], agent: Agent | None = None) -> set[str]:
        """Return which of these tasks run now, on this agent or anywhere."""
        query = (
            "select id from tasks where state = 'running' and id = any(%s) and owner_boot = coalesce(%s, owner_boot)"
        )
        return {str(row["id"]) for row in await self._rows(query, list(ids), agent and agent.boot)}

    async def unended(self, ids: Sequence[str]) -> set[str]:
        """Return which of these tasks wait or run."""
        query = "select id from tasks where state in ('queued', 'running') and id = any(%s)"
        return {str(row["id"]) for row in await self._rows(query, list(ids))}

    async def claims(self, ids: Sequence[str], attempt: int) -> dict[str, float]:
        """Return when (seconds of `monotonic`) each of these tasks was claimed for this attempt."""
        query = (
            "select id, extract(epoch from at)::float as at from task_history"
            " where state = 'running' and attempt = %s and id = any(%s)"
        )
        return {str(row["id"]): row["at"] - time.time() + monotonic()
                for row in await self._rows(query, attempt, list(ids))}  # fmt: skip

    async def agents_of(self, ids: Sequence[str]) -> set[str]:
        """Return who ended these tasks."""
        query = "select distinct b.agent_id from tasks t join boots b on b.boot = t.ran_on where t.id = any(%s)"
        return {row["agent_id"] for row in await self._rows(query, list(ids))}

    async def queued_at(self, ids: Sequence[str], at: float) -> int:
        """Return how many of these tasks had not been claimed yet at a moment of `monotonic`."""
        claimed = await self.claims(ids, 1)
        return len(ids) - sum(moment <= at for moment in claimed.values())

    async def waits(self, ids: Sequence[str]) -> list[float]:
        """Return for how many seconds each of these tasks waited, from its commit to its first claim."""
        query = (
            "select extract(epoch from min(h.at) - t.created_at)::float as waited from tasks t"
            " join task_history h on h.id = t.id and h.state = 'running' where t.id = any(%s) group by t.id"
        )
        return [row["waited"] for row in await self._rows(query, list(ids))]

    async def claims_of_classes(self, ids: Sequence[str]) -> list[str]:
        """Return the priorities of these tasks in the order of their first claims, once each class waited."""
        async with self._scene.cluster.sql() as sql:
            return await claims_of_classes(Facts(sql=sql, redis=self._scene.cluster.redis, published=ids))

    async def column(self, name: str, ids: Sequence[str]) -> list[int]:
        """Return the numbers in a column of these tasks."""
        return [row[name] for row in await self._rows(f"select {name} from tasks where id = any(%s)", list(ids))]


@asynccontextmanager
async def board(scene: Scene) -> AsyncIterator[Boarded[Cluster]]:
    """Publish on a row's cluster; whatever was accepted is audited afterwards."""
    async with board_of(scene.cluster, SLOTS, AGENTS) as made:
        try:
            yield made
        finally:
            scene.published += made.published
