"""What an operator ordered: drains of this agent, and switchovers while it is primary (PROTOCOLS 6.4, end)."""

import asyncio
import contextlib

from agent_image.keeper.parts import Parts
from appliance.core import event_bus, failpoints, logs
from appliance.core.clock import monotonic, until_beat
from appliance.core.election.decide import candidates
from appliance.core.errors import NexusError, StoreAway
from appliance.core.postgres import Row

log = logs.get("keeper")
POLL_S = 1.0
SUCCEEDS_WITHIN_S = 3.0
_LOOK_S = 0.01
_GRACE_S = 3.0


class Orders:
    """Rows first, hints second: an order is found within a second even when every hint is lost."""

    def __init__(self, parts: Parts) -> None:
        self._describe = parts.describe
        self._redis = parts.redis
        self._postgres = parts.postgres
        self._registry = parts.registry
        self._seat = parts.seat
        self._page = parts.page
        self._look_now = asyncio.Event()
        self._drains: set[str] = set()

    async def run(self) -> None:
        """Obey until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="order hints")
            while True:
                self._look_now.clear()
                try:
                    for order in await self._postgres.rows("open_orders"):
                        await self._obey(group, order)
                except NexusError as error:
                    log.warning("orders_unread", error=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(until_beat(POLL_S)):
                        await self._look_now.wait()

    async def _hear(self) -> None:
        async for hint in event_bus.hear(self._redis, "config"):
            if hint.get("type") == "order":
                self._look_now.set()

    async def _obey(self, group: asyncio.TaskGroup, order: Row) -> None:
        me = self._describe()
        if order["kind"] == "drain" and order["agent_id"] == me.id and str(order["id"]) not in self._drains:
            self._drains.add(str(order["id"]))
            group.create_task(self._drain_as_ordered(order), name="drain")
        elif order["kind"] == "switchover" and self._seat.held:
            outcome = await self._switch_over(order["agent_id"])
            await self._postgres.rows("end_order", id=order["id"], outcome=outcome)

    async def _drain_as_ordered(self, order: Row) -> None:
        outcome = await self.drain(order["deadline_s"])
        while True:
            with contextlib.suppress(NexusError):
                await self._postgres.rows("end_order", id=order["id"], outcome=outcome)
                return
            await asyncio.sleep(POLL_S)

    async def drain(self, deadline_s: float) -> str:
        """Take this agent out gently; return what became of its work, in words.

        A primary hands the seat over first. Then the runner takes nothing more, tells its streams to go elsewhere, lets
        its turns end and hands back what still runs at the deadline.
        """
        page, began = self._page, monotonic()
        if self._seat.held:
            await self._hand_over()
        left = page.load
        if not self._describe().runner_pid:
            return "drained: its runner was not there"
        page.drain_deadline = page.drain_deadline or began + deadline_s
        failpoints.reach("mid_drain")
        until = page.drain_deadline + _GRACE_S
        while not page.drained and monotonic() < until and self._describe().runner_pid:  # noqa: ASYNC110 - as in Seat
            await asyncio.sleep(_LOOK_S)
        seconds = monotonic() - began
        said = f"drained: {left} turns were running" if page.drained else f"not drained: {page.load} of {left} left"
        log.info("drain_ended", said=said, seconds=round(seconds, 2))
        return f"{said}, {seconds:.1f} s"

    async def _hand_over(self) -> None:
        """Give the seat to the best agent; while Redis is away nobody can be named, and the cluster elects later."""
        try:
            await self._switch_over("")
        except StoreAway as error:
            log.warning("not_handed_over", error=str(error))

    async def _switch_over(self, wanted: str) -> str:
        """Hand the seat to `wanted`, or to the best; return the outcome in words."""
        me, epoch, began = self._describe(), self._seat.epoch, monotonic()
        if wanted == me.id:
            return f"refused: {me.id} is primary already"
        ranked = candidates((await self._registry.view()).agents, epoch, me.id)
        fit = [it.agent for it in ranked if not it.out]
        if wanted and wanted not in fit:
            why = next((it.out for it in ranked if it.agent == wanted), "there is no such agent")
            return f"refused: {wanted} cannot be primary: {why}"
        if not fit:
            return "refused: no other agent can be primary"
        successor = wanted or fit[0]
        await self._seat.give_up(successor=successor, kind="switchover")
        return await self._succeeded(successor, epoch, began)

    async def _succeeded(self, successor: str, epoch: int, began: float) -> str:
        while monotonic() - began < SUCCEEDS_WITHIN_S:
            with contextlib.suppress(NexusError):
                lease = (await self._registry.view()).lease
                if lease is not None and lease.epoch > epoch:
                    took_ms = (monotonic() - began) * 1000
                    return f"{lease.holder} is primary of epoch {lease.epoch} after {took_ms:.0f} ms"
            await asyncio.sleep(_LOOK_S)
        return f"{successor} did not take over within {SUCCEEDS_WITHIN_S:.0f} s; the cluster elects"
