"""Taking work: free slots, the row protocol, and the durable flags behind hints (PROTOCOLS 7.4)."""

import asyncio
from collections.abc import Callable

from agent_image.runner.turns.turn import Parts, TurnRun, Why
from appliance.core import event_bus, logs, postgres
from appliance.core.errors import StoreAway
from appliance.core.records import Turn
from appliance.core.redis import Redis
from appliance.core.settings import Settings

log = logs.get("runner")
POLL_S = 0.25
FLAGS_S = 1.0
QUEUED_CHANNEL = "nexus_queued"


class Intake:
    """The turns this runner runs now, and how it comes by new ones."""

    def __init__(self, parts: Parts, settings: Settings, redis: Redis, may_claim: Callable[[], bool]) -> None:
        self._parts = parts
        self._settings = settings
        self._redis = redis
        self._may_claim = may_claim
        self._runs: dict[str, TurnRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reserved = 0
        self._closed = False
        self._look = asyncio.Event()

    @property
    def load(self) -> int:
        """Turns running now."""
        return len(self._runs)

    def reserve(self) -> str | None:
        """Hold a slot for a turn that is just being accepted; return the boot to claim it for, or None when full."""
        if self._closed or not self._may_claim() or self._free() <= 0:
            return None
        self._reserved += 1
        return self._parts.boot

    def settle(self, turn: Turn | None) -> None:
        """Give a reserved slot to its turn, or back."""
        self._reserved -= 1
        if turn is not None:
            self._start(turn)

    def _free(self) -> int:
        return self._settings.cluster_max_load - len(self._runs) - self._reserved

    def _start(self, turn: Turn) -> None:
        run = TurnRun(turn, self._parts)
        self._runs[turn.id] = run
        task = asyncio.create_task(run.run(), name=f"turn {turn.id}")
        self._tasks[turn.id] = task
        task.add_done_callback(lambda ended: self._ended(turn.id, run, ended))

    def _ended(self, turn_id: str, run: TurnRun, task: asyncio.Task[None]) -> None:
        if self._runs.get(turn_id) is run:
            del self._runs[turn_id], self._tasks[turn_id]
        self._look.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("turn_crashed", turn=turn_id, error=repr(error), exc_info=error)

    def end(self, turn_id: str, why: Why) -> None:
        """End a turn if it runs here."""
        if (run := self._runs.get(turn_id)) is not None:
            run.end(why)

    async def close(self) -> None:
        """Take nothing more and let go of what runs: its rows go back to the queue."""
        self._closed = True
        for run in list(self._runs.values()):
            run.end("drained")
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=5)

    async def claim_forever(self) -> None:
        """Claim due turns whenever slots are free: on a hint, and every 250 ms."""
        while True:
            self._look.clear()
            try:
                free = self._free()
                if free > 0 and not self._closed and self._may_claim():
                    for turn in await self._parts.ledger.claim(self._parts.boot, free):
                        self._start(turn)
            except StoreAway as error:
                log.warning("claim_failed", error=str(error))
            try:
                async with asyncio.timeout(POLL_S):
                    await self._look.wait()
            except TimeoutError:
                pass  # the poll behind the hint

    async def hear_queued(self) -> None:
        """Turn PostgreSQL's notices of queued work into a look at the queue."""
        while True:
            try:
                async with postgres.listening(self._settings, QUEUED_CHANNEL) as connection:
                    while True:
                        if await postgres.notified(connection, within_s=5.0):
                            self._look.set()
            except StoreAway as error:
                log.warning("listen_failed", error=str(error))
            await asyncio.sleep(POLL_S)

    async def hear_aborts(self) -> None:
        """End turns on a hint, at once."""
        while True:
            try:
                async for hint in event_bus.listen(self._redis, "abort"):
                    self.end(str(hint.get("turn", "")), "stopped")
            except StoreAway as error:
                log.warning("hints_interrupted", error=str(error))
            await asyncio.sleep(POLL_S)

    async def check_flags(self) -> None:
        """Each second: which of our turns were asked to stop, are overdue, or are no longer ours."""
        while True:
            await asyncio.sleep(FLAGS_S)
            running = {turn_id: run.turn.attempt for turn_id, run in self._runs.items()}
            if not running:
                continue
            try:
                await self._check(running)
            except StoreAway as error:
                log.warning("flags_unread", error=str(error))

    async def _check(self, running: dict[str, int]) -> None:
        ledger, boot = self._parts.ledger, self._parts.boot
        owned = await ledger.owned_among(list(running), boot)
        for turn_id, attempt in running.items():
            if owned.get(turn_id) != attempt:
                self.end(turn_id, "lost")
        for turn_id in await ledger.cancelled_among(list(running)):
            self.end(turn_id, "stopped")
        for turn_id in await ledger.overdue(boot):
            self.end(turn_id, "deadline")
