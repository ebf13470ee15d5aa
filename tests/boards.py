"""Runners that know the kinds of tasks of the tests, and a board of the test's own to publish on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

from agent_image.runner.tasks.board import Board, share_of
from agent_image.runner.tasks.teller import Teller
from appliance.core.records import Ended, User
from appliance.core.redis import Redis
from appliance.core.task_batches import TaskBatches, Wanted
from appliance.core.task_stream import TaskStream
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider
from tests.runners import Runners, running_runners
from tests.stores import Stores

KINDS = "tests.fakes.tasks"
AnyCluster = TypeVar("AnyCluster", bound=Cluster)


class Boarded(Generic[AnyCluster]):
    """A cluster and a board; `slots` tasks run on each of its agents."""

    def __init__(self, cluster: AnyCluster, redis: Redis, slots: int, agents: int) -> None:
        self.cluster = cluster
        self.redis = redis
        self._share = share_of(slots * agents)
        self.batches = TaskBatches(cluster.postgres, timeout_s=60, max_queued=1_000_000)
        self._stream = TaskStream(redis)
        self._generation = ""
        self.published: list[str] = []
        """Everything that was accepted here: from then on it must end, whatever dies."""
        self.board = Board(
            redis, self.batches, Teller(redis, self._stream, lambda: self._generation), lambda: self._share
        )

    async def publish(self, kind: str, count: int = 1, *, by: str = "ada", **payload: Any) -> tuple[str, ...]:
        """Put up tasks of one person; return their ids."""
        return await self.publish_all(by, [Wanted(kind, payload) for _ in range(count)])

    async def publish_all(self, by: str, wanted: list[Wanted]) -> tuple[str, ...]:
        """Put up these."""
        row = await self.cluster.postgres.row("ensure_user", tenant="default", name=by, role="operator")
        assert row is not None
        self._generation = await self._stream.generation()
        ids = await self.board.publish(User(id=str(row["id"]), name=by), wanted)
        self.published += ids
        return ids

    async def results(self, ids: tuple[str, ...], within_s: float = 60.0) -> list[Ended]:
        """Wait for the ends of tasks, in the order of their ids."""
        found = await asyncio.wait_for(self.board.results(ids), within_s)
        return [found[id_] for id_ in ids]


@asynccontextmanager
async def boarded(
    stores: Stores, provider: FakeProvider, agents: int, *, slots: int = 20, **more: str
) -> AsyncIterator[Boarded[Runners]]:
    """Run that many runners, the first of them primary."""
    settings = {"TASK_MODULES": KINDS, "CLUSTER_MAX_TASKS": str(slots), **more}
    async with running_runners(stores, provider, agents, **settings) as cluster:
        await cluster.promote("agent-1")
        async with board_of(cluster, slots, agents) as made:
            yield made


@asynccontextmanager
async def board_of(cluster: AnyCluster, slots: int, agents: int) -> AsyncIterator[Boarded[AnyCluster]]:
    """Publish on a cluster that runs."""
    redis = Redis(cluster.settings)
    made = Boarded(cluster, redis, slots, agents)
    listening = asyncio.create_task(made.board.run())
    try:
        yield made
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await redis.aclose()
