"""The heartbeat and the primary's lease. The keeper knows here how far it may trust itself: tilt (PROTOCOLS 6.1)."""

import asyncio
from collections.abc import Callable

from agent_image.shared_page import SharedPage
from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.errors import NexusError, StoreAway
from appliance.core.health import TILT_GAP_S
from appliance.core.records import Agent, Role
from appliance.core.redis import new_generation
from appliance.core.registry import Beat, Registry
from appliance.core.settings import BEAT_S, LEASE_S

log = logs.get("keeper")
FENCE_S = 0.8 * LEASE_S
"""A primary stops acting this long after the *send* time of its last good renewal, before anyone may claim."""
_ABSENT_BEATS = 2
"""A lease absent this many beats in a row is free to be taken."""


class Tilt:
    """Distrust of one's own view after a gap: nobody is declared dead until it has passed."""

    def __init__(self) -> None:
        self._until = 0.0
        self._generation: str | None = None
        self.redis_answered_at = monotonic()

    def __bool__(self) -> bool:
        return monotonic() < self._until or monotonic() - self.redis_answered_at > TILT_GAP_S

    def note(self, beat: Beat, *, late_s: float) -> None:
        """Take in a good reply; `late_s` is how much later than planned this keeper itself was."""
        now = monotonic()
        lost = beat.generation is None or (self._generation is not None and beat.generation != self._generation)
        if late_s > TILT_GAP_S or now - self.redis_answered_at > BEAT_S + TILT_GAP_S or lost:
            self._until = now + LEASE_S
            log.warning("tilt", late_s=round(late_s, 2), lost_data=lost)
        self._generation = beat.generation or self._generation
        self.redis_answered_at = now


class Beacon:
    """Beats every half second; appoints, renews and gives up the lease."""

    def __init__(
        self,
        registry: Registry,
        election: Election,
        page: SharedPage,
        describe: Callable[[], Agent],
        *,
        electable: bool,
    ) -> None:
        self._registry = registry
        self._election = election
        self._page = page
        self._describe = describe
        self._electable = electable
        self._absent = 0
        self._lease_boot = ""
        self.tilt = Tilt()
        self.woke_late = asyncio.Event()
        """Set when this keeper was stopped for longer than a boot key lives: it may have been declared dead."""

    async def run(self) -> None:
        """Beat until cancelled."""
        due = monotonic()
        while True:
            late_s = monotonic() - due
            if late_s > LEASE_S:
                self.woke_late.set()
            due = max(due + BEAT_S, monotonic())
            try:
                await self._beat(late_s)
            except NexusError as error:
                log.warning("beat_failed", error=str(error))
            self._fence()
            await asyncio.sleep(max(0.0, due - monotonic()))

    async def _beat(self, late_s: float) -> None:
        me = self._describe()
        if not me.boot:
            return
        beat = await self._registry.beat(me)
        self.tilt.note(beat, late_s=late_s)
        if beat.generation is None:
            epoch = await self._election.current()
            await self._registry.initialise(new_generation(), epoch.number)
            log.warning("initialised", epoch=epoch.number)
            await self._registry.beat(me)
        elif self._page.role is Role.PRIMARY:
            await self._renew(me)
        else:
            await self._seek(me, beat)

    async def _renew(self, me: Agent) -> None:
        sent = monotonic()
        answer = await self._election.renew(me.id, self._lease_boot, self._page.epoch)
        if answer == "absent" and await self._still_mine():
            await self._election.install(me.id, self._lease_boot, self._page.epoch)
            log.warning("lease_reasserted", epoch=self._page.epoch)
        elif answer != "ok" or me.boot != self._lease_boot:
            return self._step_down(f"lease is {answer}")
        self._page.lease_deadline = sent + FENCE_S
        return None

    async def _still_mine(self) -> bool:
        current = await self._election.current()
        return current.number == self._page.epoch and current.boot == self._lease_boot

    async def _seek(self, me: Agent, beat: Beat) -> None:
        """Take an empty seat: the appointment that votes will replace."""
        self._absent = 0 if beat.primary_id else self._absent + 1
        if self._absent < _ABSENT_BEATS or self.tilt or not self._electable:
            return
        sent = monotonic()
        epoch = await self._election.appoint(me.id, me.boot, "lease absent")
        if epoch is not None:
            self._lease_boot, self._page.epoch = me.boot, epoch
            self._page.lease_deadline = sent + FENCE_S
            self._page.role = Role.PRIMARY
            log.info("primary_appointed", epoch=epoch)

    def _fence(self) -> None:
        if self._page.role is Role.PRIMARY and monotonic() > self._page.lease_deadline:
            # The page's deadline already stops every authoritative step; the role follows when Redis says who holds it.
            log.warning("self_fenced", epoch=self._page.epoch)

    def _step_down(self, reason: str) -> None:
        self._page.role = Role.SECONDARY
        log.warning("stepped_down", epoch=self._page.epoch, reason=reason)

    async def leave(self, boot: str, *, forget: bool) -> None:
        """End this boot's beats on purpose; Redis may be away."""
        if self._page.role is Role.PRIMARY and boot == self._lease_boot:
            self._step_down("leaving")
        try:
            await self._registry.leave(self._describe().id, boot, forget=forget)
        except StoreAway as error:
            log.warning("leave_failed", error=str(error))
