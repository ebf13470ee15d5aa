"""Leaving without anybody noticing: streams go elsewhere first, turns end or are handed back (PROTOCOLS 6.4, 7.3)."""

import asyncio
from collections.abc import Callable

from agent_image.runner.hub import Hub
from agent_image.runner.tasks.worker import Worker
from agent_image.runner.turns.intake import Intake
from agent_image.shared_page import SharedPage
from appliance.core import logs
from appliance.core.clock import beat, monotonic
from appliance.core.errors import StoreAway
from appliance.core.records import Status

log = logs.get("runner")
LOOK_S, IDLE_LOOK_S = 0.05, 0.2
_STORE_RETRY_S = 0.25


class Drain:
    """The end of a runner: begun by the keeper's deadline or by SIGTERM, over with SIGTERM."""

    def __init__(
        self, page: SharedPage, intake: Intake, worker: Worker, hub: Hub, others_serve: Callable[[], bool]
    ) -> None:
        self._page = page
        self._intake = intake
        self._worker = worker
        self._hub = hub
        self._others_serve = others_serve
        self._stop = False

    def stop(self) -> None:
        """Let `run` come to its end at once; what runs is handed back."""
        self._stop = True

    async def run(self) -> None:
        """Wait for the keeper's deadline or `stop`, empty this runner, and return after `stop`.

        Until then it serves HTTP: pages, messages (as queued rows for the others), and streams nobody else can take.
        """
        page = self._page
        while not (page.drain_deadline or self._stop):
            await beat(IDLE_LOOK_S)
        page.status = Status.DRAINING
        self._intake.close()
        self._worker.close()
        left_s = round(max(0.0, page.drain_deadline - monotonic()), 1)
        log.info("draining", turns=self._intake.load, tasks=self._worker.load, seconds=left_s)
        while (self._intake.busy or self._worker.busy) and monotonic() < page.drain_deadline and not self._stop:
            await self._look()
        await self._hand_back()
        while not self._stop:
            await self._look()
        self._hub.send_away(everybody=True)

    async def _look(self) -> None:
        """Send the streams away as soon as, and only as long as, somebody else can take them."""
        if not self._others_serve():
            self._hub.leaving = False
        elif not self._hub.leaving:
            self._hub.send_away()
        await asyncio.sleep(LOOK_S)

    async def _hand_back(self) -> None:
        """Release what is left; tried until PostgreSQL answers or `stop`, after which the keeper does it."""
        await self._worker.let_go()
        while True:
            try:
                released = await self._intake.hand_back()
                log.info("drained", released=released)
                self._page.drained = 1
                return
            except StoreAway as error:
                log.warning("hand_back_failed", error=str(error))
            if self._stop:
                return
            await self._look()
            await asyncio.sleep(_STORE_RETRY_S)
