"""Taking tasks and running them: fetch, claim, drop, run, commit (PROTOCOLS 7.2). Each step takes all there is at once.

While one batch is claimed, the one before runs and the one before that is committed: batches grow with the load by
themselves, and a single task waits for nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from agent_image.runner.isolation import Isolation
from agent_image.runner.tasks.attempts import Attempts, Outcome
from agent_image.runner.tasks.teller import Teller
from appliance.core import failpoints, logs
from appliance.core.clock import beat, monotonic, until_beat
from appliance.core.errors import StaleAttempt, StoreAway
from appliance.core.metrics import STALE_REFUSED, TASKS_ENDED
from appliance.core.records import Ended, Task
from appliance.core.task_batches import Done, TaskBatches
from appliance.core.task_stream import Entry, TaskStream

log = logs.get("tasks")
T = TypeVar("T")
POLL_S, IDLE_POLL_S = 1.0, 4.0
"""A look at the streams without a hint, and at what others left behind; seldom while nothing runs here.

Who may not take anything now looks often, too: whether it may again."""
FLAGS_S, IDLE_FLAGS_S = 1.0, 5.0
"""Between looks at what the ledger says we run; seldom while nothing runs here."""
LET_GO_WITHIN_S = 0.5
DROP_AFTER_S = 0.01
"""What was claimed runs first; its entry is forgotten then, together with those that were read meanwhile."""
FEW = 8
"""With more results in a hint than this, reading their rows together costs less."""
_STORE_RETRY_S = 0.25


class Worker:
    """The tasks one runner runs, up to `slots` at a time."""

    def __init__(
        self, boot: str, slots: int, batches: TaskBatches, stream: TaskStream, teller: Teller,
        tasks_wait: asyncio.Event, may_work: Callable[[], bool], isolation: Isolation,
    ) -> None:  # fmt: skip
        self._boot = boot
        self._slots = slots
        self._batches = batches
        self._stream = stream
        self._teller = teller
        self._tasks_wait = tasks_wait
        self._may_work = may_work
        self._isolation = isolation
        self._attempts = Attempts(self._ended, isolation)
        self._ends: list[tuple[Task, Outcome]] = []
        self._read: list[Entry] = []
        self._postponed: list[Entry] = []
        self._to_commit, self._to_drop = asyncio.Event(), asyncio.Event()
        self._committing = self._closed = self._declared = False
        self._looked_behind = 0.0
        self._nobodys: set[str] = set()

    @property
    def load(self) -> int:
        """Tasks running now."""
        return len(self._attempts)

    @property
    def busy(self) -> bool:
        """Whether a task runs here or its end is being committed."""
        return bool(len(self._attempts) or self._ends or self._committing)

    def close(self) -> None:
        """Take nothing more; what runs goes on."""
        self._closed = True

    async def let_go(self) -> None:
        """End what runs: its rows are handed back, and a later commit of it is refused."""
        await self._attempts.let_go(LET_GO_WITHIN_S)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._fetch_forever(), name="fetch")
            loops.create_task(_each(self._to_commit, self._commit), name="commit")
            loops.create_task(_each(self._to_drop, self._drop), name="drop")
            loops.create_task(self._check_flags(), name="task flags")

    async def _fetch_forever(self) -> None:
        while True:
            self._tasks_wait.clear()
            free = self._slots - len(self._attempts)
            try:
                found = free > 0 and self._open and await self._take(free)
            except StoreAway as error:
                log.warning("tasks_untaken", error=str(error))
                found = False
            if not found:
                with suppress(TimeoutError):
                    async with asyncio.timeout(until_beat(self._poll_s)):
                        await self._tasks_wait.wait()

    @property
    def _poll_s(self) -> float:
        waits = self.busy or self._postponed or not self._open or not self._declared
        return POLL_S if waits else IDLE_POLL_S

    @property
    def _open(self) -> bool:
        return not self._closed and not self._isolation.closed and self._may_work()

    async def _take(self, free: int) -> bool:
        """Claim the rows of up to `free` entries; False when nothing is left to be read, or all have to wait."""
        if not self._declared:  # a standby, which takes nothing, says nothing
            self._declared = await self._batches.declare(self._boot, self._stream.capabilities)
        postponed = self._postponed[:free]
        entries = postponed or await self._fetch(free)
        if not entries:
            return False
        claimed = await self._batches.claim(self._boot, [entry.task for entry in entries])
        failpoints.reach("after_claim_before_ack")
        # What has to wait keeps its entry: after a second whoever is free reads it again, and we try as soon as we may.
        self._postponed = [entry for entry in entries if entry.task in claimed.postponed]
        self._read += [entry for entry in entries if entry.task not in claimed.postponed]
        for task in claimed.tasks:
            self._attempts.start(task)
        asyncio.get_running_loop().call_later(DROP_AFTER_S, self._to_drop.set)
        return len(self._postponed) < len(entries) and (bool(postponed) or self._stream.left)

    async def _fetch(self, free: int) -> list[Entry]:
        behind = monotonic() - self._looked_behind > POLL_S
        entries = await self._stream.fetch(self._boot, free, left_behind=behind)
        if behind:
            self._looked_behind = monotonic()
        return entries

    async def _drop(self) -> None:
        """Forget read entries; while Redis is away they stay, are read again and then dropped."""
        read, self._read = self._read, []
        try:
            await self._stream.drop(read)
        except StoreAway as error:
            log.info("entries_undropped", error=str(error))

    def _ended(self, task: Task, outcome: Outcome) -> None:
        self._ends.append((task, outcome))
        self._to_commit.set()
        self._tasks_wait.set()  # a slot is free

    async def _commit(self) -> None:
        """Commit all that ended, then tell who waits for it and who waits behind it."""
        ends, self._ends, self._committing = self._ends, [], True
        try:
            if done := [Done(task, outcome) for task, outcome in ends if isinstance(outcome, Ended)]:
                await self._commit_done(done)
            for task, outcome in ends:
                if not isinstance(outcome, Ended):
                    await self._fail(task, outcome.reason, outcome.delay_s)
        finally:
            self._committing = False

    async def _commit_done(self, done: list[Done]) -> None:
        generation = self._teller.generation()
        committed = await _until_it_answers(lambda: self._batches.commit(self._boot, generation, done))
        failpoints.reach("after_commit_before_told")
        # Committed, so what they come to may be told as well: who waits for one task need not read its row.
        how = {it.task.id: it.ended for it in done if it.task.id in committed.ended} if len(done) <= FEW else {}
        await self._teller.tell(generation, committed.told, committed.ended, how)
        STALE_REFUSED.inc(len(done) - len(committed.ended))
        for it in done:
            TASKS_ENDED.labels(it.task.kind, it.ended.state).inc()

    async def _fail(self, task: Task, reason: str, delay_s: float) -> None:
        try:
            state = await _until_it_answers(
                lambda: self._batches.fail(task, self._boot, reason=reason, delay_s=delay_s)
            )
        except StaleAttempt:
            STALE_REFUSED.inc()
            return
        if state.ended:
            TASKS_ENDED.labels(task.kind, state).inc()
            await self._teller.tell(None, (), ended=(task.id,))

    async def _check_flags(self) -> None:
        while True:
            await beat(FLAGS_S if self.busy or self._nobodys else IDLE_FLAGS_S)
            try:
                await self._compare()
            except StoreAway as error:
                log.warning("task_flags_unread", error=str(error))

    async def _compare(self) -> None:
        """Heed the ledger's flags; what it says we run and nobody runs here was lost with a reply: a failed try.

        Only at the second look, since a claim or a commit may be under way at the first.
        """
        begun = self._attempts.ids()
        owned = await self._batches.running_of(self._boot)
        self._attempts.heed(owned, begun)
        known = begun | self._attempts.ids() | {task.id for task, _ in self._ends}
        nobodys = set() if self._committing else owned.keys() - known
        for id_ in nobodys & self._nobodys:
            log.error("task_without_a_run", task=id_)
            await self._fail(owned[id_].task, "Its claim was not heard of.", 0.0)
        self._nobodys = nobodys


async def _each(signal: asyncio.Event, step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await signal.wait()
        signal.clear()
        await step()


async def _until_it_answers(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a fenced step until PostgreSQL answers: same attempt, so repeating is safe (PROTOCOLS 6.5)."""
    while True:
        try:
            return await step()
        except StoreAway as error:
            log.warning("waiting_for_store", error=str(error))
        await asyncio.sleep(_STORE_RETRY_S)
