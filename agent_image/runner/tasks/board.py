"""Publishing tasks and waiting for how they end, without polling (DESIGN 7)."""

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress

import msgspec

from agent_image.runner.tasks.teller import Teller
from appliance.core import event_bus, logs
from appliance.core.errors import StoreAway
from appliance.core.metrics import TASKS_PUBLISHED
from appliance.core.records import Ended, User
from appliance.core.redis import Redis
from appliance.core.task_batches import TaskBatches, Wanted

log = logs.get("tasks")
POLL_S = 1.0
"""A hint may be lost: so often the rows of everything awaited are read."""
FIRST_LOOK_S = 0.02
"""What is awaited was mostly published a moment ago, and its hint comes before this; some ended before they were."""


def share_of(slots: int) -> int:
    """Return how many waiting rows of one person Redis knows of where the cluster has so many slots. Pure.

    Half as many: whoever comes next is behind fewer rows than the next wave of ends frees slots, and is in that wave.
    With as many as there are slots they miss it, and wait for the second one.
    """
    return max(1, slots // 2)


class Board:
    """Where tasks are put up, and where who put them up learns how they ended."""

    def __init__(self, redis: Redis, batches: TaskBatches, teller: Teller, share: Callable[[], int]) -> None:
        self._redis = redis
        self._batches = batches
        self._teller = teller
        self._share = share
        self._awaited: dict[str, asyncio.Future[Ended]] = {}
        self._hinted: set[str] = set()
        self._look = asyncio.Event()

    async def publish(
        self, user: User, wanted: Sequence[Wanted], *, parent: str | None = None, conversation: str | None = None
    ) -> tuple[str, ...]:
        """Commit tasks, tell agents of them, and return their ids.

        Raises:
            Overloaded: too many of this user's wait. StoreAway: nothing was accepted.
        """
        generation = self._teller.generation()
        published = await self._batches.submit(
            user, wanted, generation=generation, share=self._share(), parent=parent, conversation=conversation
        )
        for it in wanted:
            TASKS_PUBLISHED.labels(it.kind).inc()
        await self._teller.tell(generation, published.told)
        return published.ids

    async def results(self, ids: Iterable[str]) -> dict[str, Ended]:
        """Wait until all these tasks have ended, whoever published them and whenever; `run` must be running."""
        loop = asyncio.get_running_loop()
        futures = {id_: self._awaited.setdefault(id_, loop.create_future()) for id_ in ids}
        loop.call_later(FIRST_LOOK_S, self._look_at, futures.keys())
        return dict(zip(futures, await asyncio.gather(*map(asyncio.shield, futures.values())), strict=True))

    async def run(self) -> None:
        """Listen and look until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._hear(), name="hear ends of tasks")
            loops.create_task(self._read_forever(), name="read ends of tasks")

    async def _hear(self) -> None:
        async for hint in event_bus.hear(self._redis, "task"):
            mine = self._awaited.keys() & set(hint.get("ids", ()))
            told = mine & hint.get("how", {}).keys()
            for id_ in told:
                self._settle(id_, msgspec.convert(hint["how"][id_], Ended))
            self._look_at(mine - told)

    def _look_at(self, ids: Set[str]) -> None:
        """Let the rows of those be read that are still awaited."""
        if mine := ids & self._awaited.keys():
            self._hinted |= mine
            self._look.set()

    async def _read_forever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if self._awaited else None):
                    await self._look.wait()
            hinted, self._hinted = self._hinted or set(self._awaited), set()
            self._look.clear()
            try:
                for id_, ended in (await self._batches.ended(sorted(hinted))).items():
                    self._settle(id_, ended)
            except StoreAway as error:
                log.info("ends_unread", error=str(error))

    def _settle(self, id_: str, ended: Ended) -> None:
        future = self._awaited.pop(id_, None)
        if future is not None and not future.done():
            future.set_result(ended)
