"""Brings the fleet to what is wished: looks, plans, does the next steps, again and again.

Nothing is remembered that the stores and the fleet do not know, so it may be ended and started again at any point.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import msgspec

from appliance.core import logs
from appliance.core.desired_fleet import DesiredFleet
from appliance.core.errors import NexusError, StoreAway
from appliance.core.orders import Orders
from appliance.core.records import ClusterView
from appliance.core.registry import Registry
from control_plane.fleet import Fleet
from control_plane.plan import Act, Seen, Step, steps

log = logs.get("control-plane")
BUSY_S, IDLE_S = 0.3, 2.0
"""So often it looks while something is to be done, and while nothing is."""
DRAIN_S = 60.0
"""So long the turns of an agent that is scaled away may take."""
JUST_NOW_S = 3.0
"""So long after a drain an agent may still look active: its next beats say more."""
BY = "control plane"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_GONE = "ended: the agent was gone before it could tell"


class Trouble(msgspec.Struct, frozen=True):
    """A step that failed, and when it may be tried again (monotonic seconds)."""

    why: str
    pause_s: float
    not_before: float


class Reconciler:
    """The loop. Each agent has at most one step under way; a step that fails is tried again later and later."""

    def __init__(self, fleet: Fleet, desired: DesiredFleet, orders: Orders, registry: Registry) -> None:
        self._fleet = fleet
        self._desired = desired
        self._orders = orders
        self._registry = registry
        self._wake = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._held: Counter[str] = Counter()
        self.troubles: dict[str, Trouble] = {}
        """By agent: what could not be done, for people to see."""
        self.away = ""
        """Why nothing can be done at the moment; '' when all is well."""

    def wake(self) -> None:
        """Look now: something was wished."""
        self._wake.set()

    @asynccontextmanager
    async def hands_off(self, agent: str) -> AsyncIterator[None]:
        """Leave an agent alone while somebody else does something to it."""
        self._held[agent] += 1
        try:
            yield
        finally:
            self._held[agent] -= 1
            self.wake()

    async def look(self) -> Seen:
        """Read what is wished and what is there.

        Raises:
            StoreAway, FleetAway: PostgreSQL or the fleet does not answer. NotFound: nothing was ever wished for.
        """
        # Orders first: what a switchover did that has ended by then shows in the view that is read afterwards.
        orders = await self._orders.recent(JUST_NOW_S)
        desired, members, view = await asyncio.gather(self._desired.read(), self._fleet.members(), self.view())
        return Seen(desired, members, view, tuple(orders))

    async def view(self) -> ClusterView | None:
        """Read the registry; None while Redis does not answer."""
        try:
            return await self._registry.view()
        except StoreAway:
            return None

    async def run(self) -> None:
        """Reconcile until cancelled; steps under way are left as they are."""
        try:
            while True:
                self._wake.clear()
                busy = await self._once()
                with suppress(TimeoutError):
                    async with asyncio.timeout(BUSY_S if busy else IDLE_S):
                        await self._wake.wait()
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def _once(self) -> bool:
        """Look and begin what can be begun; return whether anything is to be done."""
        try:
            seen = await self.look()
        except NexusError as error:
            self._say_away(error.detail)
            return False
        except Exception:  # one bad reading must not end scaling for ever
            log.exception("fleet_not_read")
            return False
        self._say_away("")
        plan = steps(seen)
        wanted = {step.agent_id for step in plan}
        self.troubles = {agent: trouble for agent, trouble in self.troubles.items() if agent in wanted}
        for step in plan:
            if step.act is not Act.WAIT and self._may_begin(step.agent_id):
                self._begin(step, seen)
        return bool(plan)

    def _say_away(self, why: str) -> None:
        if why != self.away:
            log.warning("fleet_away", why=why) if why else log.info("fleet_back")
        self.away = why

    def _may_begin(self, agent: str) -> bool:
        trouble = self.troubles.get(agent)
        pauses = trouble is not None and trouble.not_before > time.monotonic()
        return not (agent in self._under_way or self._held[agent] or pauses)

    def _begin(self, step: Step, seen: Seen) -> None:
        log.info("fleet_step", act=step.act, agent=step.agent_id, why=step.why)
        task = asyncio.create_task(self._take(step, seen), name=f"{step.act} {step.agent_id}")
        self._under_way[step.agent_id] = task
        task.add_done_callback(partial(self._ended, step.agent_id))

    def _ended(self, agent: str, task: "asyncio.Task[None]") -> None:
        del self._under_way[agent]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.troubles.pop(agent, None)
            self.wake()
            return
        why = error.detail if isinstance(error, NexusError) else repr(error)
        before = self.troubles.get(agent)
        pause_s = min(before.pause_s * 2, _LONGEST_PAUSE_S) if before else _FIRST_PAUSE_S
        log.warning("fleet_step_failed", agent=agent, why=why, again_in_s=pause_s)
        self.troubles[agent] = Trouble(why, pause_s, time.monotonic() + pause_s)

    async def _take(self, step: Step, seen: Seen) -> None:
        match step.act:
            case Act.START:
                await self._close_order(step, seen)
                await self._fleet.start(step.slot)
            case Act.RESTART:
                await self._fleet.restart(step.slot)
            case Act.SWITCH_OVER:
                await self._orders.switchover(step.other, by=BY)
            case Act.DRAIN:
                await self._orders.drain(step.agent_id, deadline_s=DRAIN_S, by=seen.desired.changed_by)
            case Act.STOP:
                await self._fleet.stop(step.slot)
                await self._close_order(step, seen)
            case Act.REMOVE:
                await self._fleet.remove(step.slot)
                await self._close_order(step, seen)

    async def _close_order(self, step: Step, seen: Seen) -> None:
        """End an order whose agent can no longer do so: the slot's next agent must not obey it."""
        if order := seen.drain_of(step.agent_id):
            await self._orders.end(order, _GONE)
