"""Every audited change, one function each: page, JSON API and command line are its faces.

`by` is the person's name, `key` the request's own id: whoever repeats a request with its key is given the first result
and nothing is done again.
"""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid5

import msgspec

from appliance.core.desired_fleet import Desired, DesiredFleet, Wish, agent_id, slot_of
from appliance.core.errors import BadInput, Conflict, Forbidden, NexusError
from appliance.core.order_rules import at_rest, check_drain, check_switchover, deadline
from appliance.core.orders import AutomaticFailover, Order, Orders, Pause
from appliance.core.registry import Registry
from appliance.core.requests import Requests
from appliance.core.scaling import Preview, checked, preview
from appliance.core.settings import Settings
from appliance.core.typed import seconds
from control_plane.fleet import MAX_FREEZE_S, Fleet
from control_plane.progress import FleetState, state_of
from control_plane.reconcile import Reconciler

Check = Callable[[], Awaitable[None]]
Act = Callable[[int], Awaitable[None]]


class Rows(msgspec.Struct, frozen=True):
    """What changes rows."""

    desired: DesiredFleet
    orders: Orders
    failover: AutomaticFailover
    requests: Requests


class Operations:
    """The changes, and what they would do. What is refused is audited, too."""

    def __init__(
        self, settings: Settings, rows: Rows, registry: Registry, fleet: Fleet, reconciler: Reconciler
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._registry = registry
        self._fleet = fleet
        self._reconciler = reconciler

    async def state(self) -> FleetState:
        """Return what is wished, what is there, what happens next and how far each agent is."""
        return state_of(await self._reconciler.look(), self._reconciler.troubles)

    async def preview(self, number: float | str) -> Preview:
        """Return what `scale(number)` would do now; nothing is changed.

        Raises:
            BadInput: that is no number, or there cannot be so many, or so few.
        """
        wanted, seen = self._checked(number), await self._reconciler.look()
        return preview(wanted, seen.desired, seen.view)

    async def scale(self, number: float | str, *, by: str, key: UUID) -> Desired:
        """Wish for `number` agents: more are started, surplus ones drained and removed, the least loaded first.

        Raises:
            BadInput: that is no number, or there cannot be so many, or so few.
        """
        async with self._rows.requests.refusals("scale", str(number), by):
            wanted = self._checked(number)
            view = await self._reconciler.view()

            def choose(now: Desired) -> Wish:
                return preview(wanted, now, view).wish

            changed = await self._rows.desired.change(choose, action="scale", subject=str(wanted), by=by, key=key)
        self._reconciler.wake()
        return changed

    async def drain(self, agent: str, deadline_s: float | str, *, by: str, key: UUID) -> Order:
        """Take an agent out of service: its turns end or are handed back, then it stops and rests until a restart.

        One that drains already is answered with that order (`new` is false). The primary hands its seat over first.

        Raises:
            BadInput: there is no such agent, or the deadline cannot be. Conflict: it does not run or is the last one.
        """
        if earlier := await self._rows.orders.given(key):
            return earlier
        async with self._rows.requests.refusals("drain", agent, by):
            within_s = deadline(deadline_s)
            await self._slot(agent)
            check_drain(await self._registry.view(), agent)
            async with self._reconciler.hands_off(agent):
                await self._leave(agent, by=by, key=key)
                order = await self._rows.orders.drain(agent, deadline_s=within_s, by=by, key=key)
        await self._rows.orders.repeated(order, by=by)
        return order

    async def switchover(self, successor: str, *, by: str, key: UUID) -> Order:
        """Ask the primary to hand its seat to `successor`, or to the best one when that is ''.

        Raises:
            BadInput: there is no such agent. Conflict: it may not follow, or another switchover is under way.
        """
        if earlier := await self._rows.orders.given(key):
            return earlier
        async with self._rows.requests.refusals("switchover", successor, by):
            check_switchover(await self._registry.view(), successor)
            order = await self._rows.orders.switchover(successor, by=by, key=key)
            if not order.new and order.agent_id != successor:
                other = order.agent_id or "the best agent"
                raise Conflict(
                    f"A switchover to {other}, asked for by {order.asked_by}, is under way: wait for its end."
                )
        await self._rows.orders.repeated(order, by=by)
        return order

    async def pause(self, *, by: str) -> Pause:
        """Leave a dead primary's seat empty until `resume`; repeating it changes nothing."""
        return await self._rows.failover.pause(by=by)

    async def resume(self, *, by: str) -> bool:
        """Replace dead primaries again; False: it was not paused."""
        return await self._rows.failover.resume(by=by)

    async def stop(self, agent: str, *, by: str, key: UUID) -> str:
        """Stop an agent now; what it does not end within its own short time is handed back. It rests until a restart.

        Raises:
            BadInput: there is no such agent. Conflict: it does not run or is the last one.
        """

        async def check() -> None:
            check_drain(await self._registry.view(), agent)

        async def act(slot: int) -> None:
            await self._leave(agent, by=by, key=key)
            await self._fleet.stop(slot)

        return await self._do("stop", "stopped", agent, check, act, by=by, key=key)

    async def restart(self, agent: str, *, by: str, key: UUID) -> str:
        """Stop an agent gently and start it again; one that rests goes back into service.

        Raises:
            BadInput: there is no such agent.
        """

        async def act(slot: int) -> None:
            await self._rest(agent, "back in service", lambda now: now.with_rest(slot, rests=False), by=by, key=key)
            await self._fleet.restart(slot)

        return await self._do("restart", "restarted", agent, _nothing, act, by=by, key=key)

    async def kill(self, agent: str, *, by: str, key: UUID) -> str:
        """Game day: end an agent at once, as a fault would.

        Raises:
            BadInput: there is no such agent. Forbidden: game day is off.
        """
        return await self._do("kill", "killed", agent, self._check_game_day, self._fleet.kill, by=by, key=key)

    async def freeze(self, agent: str, for_s: float | str, *, by: str, key: UUID) -> str:
        """Game day: let nothing of an agent run for `for_s` seconds.

        Raises:
            BadInput: there is no such agent, or the time cannot be. Forbidden: game day is off.
        """

        async def check() -> None:
            await self._check_game_day()
            _freeze_s(for_s)

        async def act(slot: int) -> None:
            await self._fleet.freeze(slot, _freeze_s(for_s))

        return await self._do("freeze", f"frozen for {for_s} s", agent, check, act, by=by, key=key)

    async def _do(self, action: str, done: str, agent: str, check: Check, act: Act, *, by: str, key: UUID) -> str:
        """Check, audit, do, audit what became of it; return that as a sentence."""
        if earlier := await self._rows.requests.answer(key):
            return earlier
        async with self._rows.requests.refusals(action, agent, by):
            slot = await self._slot(agent)
            await check()
        await self._rows.requests.begin(key, action=action, subject=agent, by=by)
        outcome = "cut off before it ended"
        try:
            async with self._reconciler.hands_off(agent):
                await act(slot)
            outcome = f"{agent} {done}"
        except NexusError as error:
            outcome = f"failed: {error.detail}"
            raise
        finally:
            await self._rows.requests.end(key, outcome)
        return outcome

    async def _leave(self, agent: str, *, by: str, key: UUID) -> None:
        """Keep in the row that an agent is out of service on purpose, so that nobody starts it again.

        Raises:
            Conflict: it is the last one.
        """
        view = await self._registry.view()
        await self._rest(agent, "out of service", lambda now: at_rest(now, agent, view), by=by, key=key)

    async def _rest(self, agent: str, action: str, choose: Callable[[Desired], Wish], *, by: str, key: UUID) -> None:
        own = uuid5(key, action)
        await self._rows.desired.change(choose, action=action, subject=agent, by=by, key=own)

    async def _slot(self, agent: str) -> int:
        slot, now = slot_of(agent), await self._rows.desired.read()
        if slot not in now.slots:
            raise BadInput(f"There is no agent {agent!r}; there are: {', '.join(map(agent_id, now.slots))}.")
        return slot

    async def _check_game_day(self) -> None:
        if not self._settings.game_day:
            raise Forbidden("Game day is off: GAME_DAY=true with the next `make up` turns it on.")

    def _checked(self, number: float | str) -> int:
        return checked(number, at_most=self._settings.fleet_max)


def _freeze_s(typed: float | str) -> float:
    return seconds(typed, least=1, most=MAX_FREEZE_S, means="an agent can be frozen for")


async def _nothing() -> None:
    """Check nothing."""
