"""Taking work: free slots, the row protocol, and the durable flags behind hints (PROTOCOLS 7.4)."""

import asyncio
from collections.abc import Callable

from agent_image.runner.turns.turn import RETRY_DELAYS_S, Parts, TurnRun, Why
from appliance.core import event_bus, logs, postgres
from appliance.core.clock import monotonic, until_beat
from appliance.core.errors import StaleAttempt, StoreAway
from appliance.core.metrics import TURN_WAIT
from appliance.core.records import TaskState, Turn
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.task_ledger import Answer

log = logs.get("runner")
POLL_S, HEARD_POLL_S = 0.25, 1.0
"""Between looks at the queue: without PostgreSQL's notices, and with them. Nobody says that a try that waited falls
due: that waits for the look. Whether this agent may claim (Redis is back, a standby was promoted) costs no look at the
queue, so that is asked often."""
FLAGS_S = 1.0
LET_GO_WITHIN_S = 0.5
"""Turns that are handed back may take this long to end; a later write of theirs is fenced."""
_LOOK_S = 0.01
LOST = "Something went wrong inside Nexus while this was answered; it was logged."
QUEUED_CHANNEL = "nexus_queued"


class Intake:
    """The turns this runner runs now, and how it comes by new ones."""

    def __init__(
        self, parts: Parts, settings: Settings, redis: Redis, may_claim: Callable[[], bool], leads: Callable[[], bool]
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._redis = redis
        self._may_claim = may_claim
        self.leads = leads
        """Whether this agent is the primary, which alone orchestrates."""
        self._runs: dict[str, TurnRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reserved = 0
        self._claiming = False
        self._closed = False
        self._look = asyncio.Event()
        self._poll_s = POLL_S
        self._nobodys: set[str] = set()

    @property
    def agent(self) -> str:
        """The agent it takes work for."""
        return self._parts.agent

    @property
    def load(self) -> int:
        """Turns running now."""
        return len(self._runs)

    @property
    def busy(self) -> bool:
        """Whether a turn runs here, or may be about to: one is being accepted or claimed."""
        return bool(self._runs or self._reserved or self._claiming)

    def reserve(self) -> str | None:
        """Hold a slot for a turn that is just being accepted; return the boot to claim it for, or None when full."""
        if not self._may_look():
            return None
        self._reserved += 1
        return self._parts.boot

    def settle(self, turn: Turn | None) -> None:
        """Give a reserved slot to its turn, or back."""
        self._reserved -= 1
        if turn is not None:
            TURN_WAIT.observe(0.0)
            self._start(turn)

    @property
    def free(self) -> int:
        """Turns there is room for."""
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

    def close(self) -> None:
        """Take nothing more; what runs goes on."""
        self._closed = True

    async def hand_back(self) -> int:
        """End what runs and release all rows of this boot, which counts as no failure; return how many they were.

        Raises:
            StoreAway: nothing was released; call it again.
        """
        until = monotonic() + LET_GO_WITHIN_S
        while self.busy and monotonic() < until:
            for run in self._runs.values():  # also those whose claim was under way
                run.end("drained")
            await asyncio.sleep(_LOOK_S)
        return await self._parts.ledger.release(self._parts.boot, turns_only=False)

    async def _adopt_or_let_go(self, nobodys: set[str]) -> None:
        """Deal with rows that name this boot and that nobody runs: the reply to a claim was lost, or a turn crashed.

        Only at the second look, since a claim or an end may be under way at the first.
        """
        for turn_id in nobodys & self._nobodys:
            turn = await self._parts.ledger.turn(turn_id)
            if turn is None or turn.owner_boot != self._parts.boot or turn_id in self._runs:
                continue
            log.error("turn_without_a_run", turn=turn_id, failed_before=turn.fail_count)
            await self._let_go(turn)
        self._nobodys = nobodys

    async def _let_go(self, turn: Turn) -> None:
        ledger, boot = self._parts.ledger, self._parts.boot
        try:
            if turn.fail_count < len(RETRY_DELAYS_S):
                await ledger.retry(turn, boot, reason=LOST, delay_s=RETRY_DELAYS_S[turn.fail_count])
            else:
                await ledger.end(turn, boot, Answer(TaskState.FAILED, reason=LOST), agent=self._parts.agent)
        except StaleAttempt:
            log.info("turn_found_an_owner", turn=turn.id)

    async def claim_forever(self) -> None:
        """Claim due turns whenever slots are free: on a hint, and on a poll behind it."""
        while True:
            self._look.clear()
            looked = self._may_look() and await self._claim(self.free)
            try:
                async with asyncio.timeout(until_beat(self._poll_s if looked else POLL_S)):
                    await self._look.wait()
            except TimeoutError:
                pass  # no hint came in time, which is usual: the poll behind it looks now

    @property
    def takes(self) -> bool:
        """Whether turns are taken here at all, room or not."""
        return not self._closed and not self._parts.isolation.closed and self._may_claim()

    def _may_look(self) -> bool:
        return self.free > 0 and self.takes

    async def _claim(self, free: int) -> bool:
        """Claim up to so many turns and run them; False when the queue could not be looked at."""
        self._claiming = True
        try:
            for turn in await self._parts.ledger.claim(self._parts.boot, free, leads=self.leads()):
                self._start(turn)
        except StoreAway as error:
            log.warning("claim_failed", error=str(error))
            return False
        else:
            return True
        finally:
            self._claiming = False

    async def hear_queued(self, heard: Callable[[], None]) -> None:
        """Turn PostgreSQL's notices of queued work into a look at the queue; `heard` is called as well."""
        while True:
            try:
                async with postgres.listening(self._settings, QUEUED_CHANNEL) as connection:
                    self._poll_s = HEARD_POLL_S
                    self._look.set()  # what was said before nobody heard
                    while True:
                        if await postgres.notified(connection, within_s=5.0):
                            self._look.set()
                            heard()
            except StoreAway as error:
                log.warning("listen_failed", error=str(error))
            finally:
                self._poll_s = POLL_S
            await asyncio.sleep(POLL_S)

    async def hear_aborts(self) -> None:
        """End turns on a hint, at once."""
        async for hint in event_bus.hear(self._redis, "abort"):
            self.end(str(hint.get("turn", "")), "stopped")

    async def check_flags(self) -> None:
        """Each second: which of our turns were asked to stop, are overdue, or are no longer ours."""
        while True:
            await asyncio.sleep(FLAGS_S)
            try:
                await self._check({turn_id: run.turn.attempt for turn_id, run in self._runs.items()})
            except StoreAway as error:
                log.warning("flags_unread", error=str(error))

    async def _check(self, running: dict[str, int]) -> None:
        ledger, boot = self._parts.ledger, self._parts.boot
        owned = await ledger.running_of(boot)
        for turn_id, attempt in running.items():
            if owned.get(turn_id) != attempt:
                self.end(turn_id, "lost")
        # An accept holds its slot until Redis was told, which may take long; its row is ours before its run begins.
        await self._adopt_or_let_go({turn_id for turn_id in owned if turn_id not in self._runs and not self._reserved})
        if running:
            for turn_id in await ledger.cancelled_among(list(running)):
                self.end(turn_id, "stopped")
            for turn_id in await ledger.overdue(boot):
                self.end(turn_id, "deadline")
