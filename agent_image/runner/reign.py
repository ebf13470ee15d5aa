"""What an agent does while it is primary: loops that begin with its promotion and end before its lease goes.

Work of dead boots is released, forgotten turns are woken, unsaid endings are said (PROTOCOLS 7.2, 7.3, 8.2), reminders
and jobs are fired. Each authoritative write carries the epoch and is refused once a later one is in force.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from agent_image.runner.tasks.dispatcher import Dispatcher
from agent_image.runner.turns.announcer import Announcer
from agent_image.shared_page import SharedPage
from appliance.core import logs
from appliance.core.clock import beat, monotonic
from appliance.core.election import Election
from appliance.core.errors import StaleEpoch, StoreAway
from appliance.core.task_ledger import TaskLedger

log = logs.get("runner")
Step = Callable[[int], Awaitable[None]]
LOOK_S = 0.05
"""Between looks at the page while it leads: a keeper that gives its seat up waits for the end of the loops."""
IDLE_LOOK_S = 0.2
"""Between looks while it does not: what a reign begins with, the sweeps, is not urgent."""
SWEEP_S, REST_S = 1.0, 0.05
IDLE_SWEEPS = 5
"""Seconds between the dispatcher's sweeps while nothing waits: what is queued meanwhile is told by a notice."""


class Reign:
    """One primary's term after the other, as the keeper's page says.

    `more` are sweeps of other rooms, each by the name under which `TaskLedger.sweeps_due` says that it has work.
    """

    def __init__(
        self, page: SharedPage, ledger: TaskLedger, election: Election, announcer: Announcer, dispatcher: Dispatcher,
        more: Mapping[str, Step], *, agent: str, boot: str,
    ) -> None:  # fmt: skip
        self._page = page
        self._ledger = ledger
        self._election = election
        self._announcer = announcer
        self._dispatcher = dispatcher
        self._more = more
        self._agent = agent
        self._boot = boot
        self._deposed_of = 0

    async def run(self) -> None:
        """Reign whenever this agent may act as primary, until cancelled."""
        while True:
            epoch = self._page.epoch
            if self._holds(epoch):
                await self._reign(epoch)
            await beat(IDLE_LOOK_S)

    def _holds(self, epoch: int) -> bool:
        page = self._page
        return epoch > self._deposed_of and page.epoch == epoch and page.may_act_as_primary(monotonic())

    async def _reign(self, epoch: int) -> None:
        self._page.reigning = 1
        log.info("reign_began", epoch=epoch)
        try:
            over = asyncio.Event()
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._watch(epoch, over), name="seat")
                loops.create_task(self._fenced(self._say_who_leads, epoch), name="routing")
                loops.create_task(self._each_second(epoch, over), name="sweeps")
                loops.create_task(self._dispatch(epoch, over), name="dispatch")
        finally:
            self._page.reigning = 0
            log.info("reign_ended", epoch=epoch)

    async def _watch(self, epoch: int, over: asyncio.Event) -> None:
        while self._holds(epoch):  # the page is memory of another process
            await beat(LOOK_S)
        over.set()
        self._dispatcher.nudged.set()  # it rests on this one

    async def _each_second(self, epoch: int, over: asyncio.Event) -> None:
        """Sweep, the first time at once. A step under way is waited for: its reply belongs to nobody else."""
        while self._holds(epoch):
            await self._fenced(self._sweep, epoch)
            await _within(SWEEP_S, over)

    async def _sweep(self, epoch: int) -> None:
        steps = {
            "dead": self._release_dead, "waiting": self._wake_waiting, "unannounced": self._announce,
            **self._more,
        }  # fmt: skip
        due = await self._ledger.sweeps_due(epoch)
        await asyncio.gather(*(self._fenced(step, epoch) for name, step in steps.items() if due[name]))

    async def _dispatch(self, epoch: int, over: asyncio.Event) -> None:
        """Sweep each second while something waits, else seldom; on hints as soon as it has rested."""
        while self._holds(epoch):
            await self._fenced(self._dispatcher.sweep, epoch)
            await _within(REST_S, over)
            for _ in range(IDLE_SWEEPS):
                if over.is_set() or await _within(SWEEP_S - REST_S, self._dispatcher.nudged) or self._dispatcher.due:
                    break

    async def _fenced(self, step: Step, epoch: int) -> None:
        try:
            await step(epoch)
        except StaleEpoch:
            log.warning("deposed", epoch=epoch, step=step.__name__)
            self._deposed_of = epoch
        except StoreAway as error:
            log.warning("sweep_failed", step=step.__name__, error=str(error))

    async def _say_who_leads(self, epoch: int) -> None:
        await self._election.tell(epoch, {"type": "routing", "primary": self._agent, "epoch": epoch})

    async def _release_dead(self, epoch: int) -> None:
        if released := await self._ledger.sweep_dead(epoch, self._boot):
            log.warning("swept", released=released)

    async def _wake_waiting(self, epoch: int) -> None:
        if woken := await self._ledger.sweep_waiting(epoch, self._boot):
            log.warning("woken", turns=woken)

    async def _announce(self, epoch: int) -> None:
        """Say missing last words; these belong to a turn, so its attempt is their fence."""
        for row in await self._ledger.unannounced():
            if self._holds(epoch):
                await self._announcer.announce(row)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event, but not longer; whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
