"""Puts together what a runner needs for tasks."""

import asyncio
from collections.abc import Callable

from agent_image.runner.hub import Hub
from agent_image.runner.isolation import Isolation
from agent_image.runner.neighbours import Neighbours
from agent_image.runner.tasks import kinds
from agent_image.runner.tasks.board import Board, share_of
from agent_image.runner.tasks.dispatcher import Dispatcher
from agent_image.runner.tasks.teller import Teller
from agent_image.runner.tasks.worker import Worker
from appliance.core import needs
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.task_batches import TaskBatches
from appliance.core.task_stream import TaskStream


class Tasks:
    """The worker, the board and the dispatcher of one runner."""

    def __init__(
        self, config: Settings, boot: str, redis: Redis, postgres: Postgres, hub: Hub, neighbours: Neighbours,
        may_work: Callable[[], bool], isolation: Isolation,
    ) -> None:  # fmt: skip
        kinds.load(filter(None, config.task_modules.split(",")))
        self.batches = TaskBatches(postgres, timeout_s=config.task_timeout, max_queued=config.cluster_max_queued_tasks)
        can = (*config.capabilities(terminal=config.cluster_terminal), needs.of_agent(config.cluster_agent_id))
        stream = TaskStream(redis, can)
        teller = Teller(redis, stream, lambda: hub.generation)
        slots = config.cluster_max_tasks

        def share() -> int:
            """Rows of one user that Redis knows at a time: K in PROTOCOLS 7.4."""
            return share_of(slots * (1 + len(neighbours.named())))

        self.worker = Worker(boot, slots, self.batches, stream, teller, hub.tasks_wait, may_work, isolation)
        self.board = Board(redis, self.batches, teller, share)
        self.dispatcher = Dispatcher(boot, self.batches, teller, share)

    async def run(self) -> None:
        """Work and wait until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self.worker.run(), name="worker")
            loops.create_task(self.board.run(), name="board")
