"""The primary's dispatcher (PROTOCOLS 7.4): rows that wait and of which Redis knows nothing are told to it.

One sweep gives delayed tries, reminders, lost wake-ups, fair shares and the recovery from an empty Redis.
"""

import asyncio
from collections.abc import Callable

from agent_image.runner.tasks.teller import Teller
from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.task_batches import TaskBatches, Told

log = logs.get("tasks")
BATCH = 500
LOST_S, LOOK_S = 3.0, 0.5
"""An entry not claimed for so long may have been lost on its way; between looks for such while some wait. With a sweep
each second, or a first one after five, such a row is told again within 5 s and runs within 6 s (F24)."""
TIDY_S = 5.0
"""Between looks for readers that are gone."""


class Dispatcher:
    """Sweeps while this agent is primary."""

    def __init__(self, boot: str, batches: TaskBatches, teller: Teller, share: Callable[[], int]) -> None:
        self._boot = boot
        self._batches = batches
        self._teller = teller
        self._share = share
        self.nudged = asyncio.Event()
        """Something was queued: do not wait for the next second."""
        self._looked_for_lost = self._tidied = 0.0
        self._more = True
        self._swept: str | None = None

    async def sweep(self, epoch: int) -> None:
        """Tell Redis of what it does not know, as the primary of `epoch`.

        Raises:
            StaleEpoch: another primary is in force. StoreAway: try again.
        """
        self.nudged.clear()
        generation = self._swept = self._teller.generation()
        if generation is None:
            return
        told: list[Told] = []
        waits = await self._batches.waiting(generation)
        self._more = waits.untold or waits.told or waits.directed
        if waits.untold:
            told = await self._batches.undispatched(epoch, self._boot, generation, share=self._share(), limit=BATCH)
        if waits.told and monotonic() - self._looked_for_lost > LOOK_S:
            self._looked_for_lost = monotonic()
            told += await self._batches.unclaimed(epoch, self._boot, generation, older_s=LOST_S, limit=BATCH)
        if waits.directed:
            told += await self._batches.directed(
                epoch, self._boot, generation, share=self._share(), older_s=LOST_S, limit=BATCH
            )
        if told:
            log.info("dispatched", tasks=len(told))
            await self._teller.tell(generation, told)
            self.nudged.set()  # there may be more
        if monotonic() - self._tidied > TIDY_S:
            self._tidied = monotonic()
            await self._teller.dismiss()

    @property
    def due(self) -> bool:
        """Whether the next second needs a sweep: rows wait, or Redis is another one."""
        return self._more or self._teller.generation() != self._swept
