"""A runner whose event loop no longer turns: first the lease stops, then the runner (PROTOCOLS 6.1)."""

from agent_image.keeper.child import Child
from agent_image.keeper.parts import Parts
from appliance.core import logs
from appliance.core.clock import beat, monotonic

log = logs.get("keeper")
LEASE_STOPS_S = 1.5
KILL_PRIMARY_S, KILL_OTHER_S = 3.0, 10.0
_LOOK_S = 0.25


class Stall:
    """Looks at the runner's tick, from the first one on. While the keeper itself was stopped it judges nobody."""

    def __init__(self, parts: Parts, child: Child) -> None:
        self._page = parts.page
        self._seat = parts.seat
        self._tilt = parts.tilt
        self._child = child
        self._led = False
        """Whether it was primary, now or when it began to stand still."""

    @property
    def _stands_still_s(self) -> float:
        tick = self._page.loop_tick
        return monotonic() - tick if tick else 0.0

    @property
    def lease_may_not_go_on(self) -> bool:
        """Whether the runner has stood still for too long to be a primary's."""
        return self._stands_still_s > LEASE_STOPS_S

    async def run(self) -> None:
        """Look until cancelled; a killed runner's work and lease are handed on by whoever waits for its end."""
        while True:
            await beat(_LOOK_S)
            if self.is_overdue():
                log.error("runner_stalled", seconds=round(self._stands_still_s, 1))
                await self._child.replace(crashed=True)

    def is_overdue(self) -> bool:
        """Look once: whether the runner has stood still for too long to be waited for any longer.

        Who stood still as primary is not given longer for having lost the seat meanwhile.
        """
        stood_s = self._stands_still_s
        self._led = self._seat.held or (self._led and stood_s > LEASE_STOPS_S)
        return stood_s > (KILL_PRIMARY_S if self._led else KILL_OTHER_S) and not self._tilt
