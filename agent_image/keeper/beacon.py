"""The heartbeat: nothing but beats and the renewal of a lease runs in this loop (PROTOCOLS 6.1)."""

import asyncio
from collections.abc import Callable

from agent_image.keeper.parts import Parts
from appliance.core import logs
from appliance.core.clock import monotonic, until_beat
from appliance.core.errors import NexusError, StoreAway
from appliance.core.redis import new_generation
from appliance.core.settings import BEAT_S, LEASE_S

log = logs.get("keeper")


class Beacon:
    """Beats every half second and renews the lease of a primary whose runner still turns."""

    def __init__(self, parts: Parts, stalled: Callable[[], bool]) -> None:
        self._registry = parts.registry
        self._election = parts.election
        self._seat = parts.seat
        self._tilt = parts.tilt
        self._describe = parts.describe
        self._stalled = stalled
        self.woke_late = asyncio.Event()
        """Set when this keeper was stopped for longer than a boot key lives: it may have been declared dead."""

    async def run(self) -> None:
        """Beat until cancelled."""
        due = monotonic()
        while True:
            late_s = monotonic() - due
            if late_s > LEASE_S:
                self.woke_late.set()
            due = monotonic() + until_beat(BEAT_S)
            try:
                await self._beat(late_s)
            except NexusError as error:
                log.warning("beat_failed", error=str(error))
            await asyncio.sleep(max(0.0, due - monotonic()))

    async def _beat(self, late_s: float) -> None:
        me = self._describe()
        if not me.boot:
            return
        beat = await self._registry.beat(me)
        self._tilt.note_reply(late_s=late_s, redis_time=beat.redis_ms / 1000, generation=beat.generation)
        if beat.generation is None:
            epoch = await self._election.current()
            await self._registry.initialise(new_generation(), epoch.number)
            log.warning("initialised", epoch=epoch.number)
            await self._registry.beat(me)
        # A primary whose runner stands still lets its lease run out while its boot key goes on (PROTOCOLS 6.1).
        if self._seat.held and not self._stalled():
            await self._seat.keep(me.boot)

    async def leave(self, boot: str, *, on_purpose: bool) -> None:
        """End this boot's liveness on purpose; Redis may be away."""
        try:
            await self._registry.leave(self._describe().id, boot, on_purpose=on_purpose)
        except StoreAway as error:
            log.warning("leave_failed", error=str(error))
