"""The primary's keeper makes and drops the search indexes that runners wish for: they may not do it themselves."""

from agent_image.keeper.parts import Parts
from appliance.core import logs
from appliance.core.clock import beat
from appliance.core.errors import NexusError
from appliance.core.memory.upkeep import IndexUpkeep

log = logs.get("keeper")
EVERY_S = 1.0


class Indexes:
    """Looks each second while this keeper holds the seat: two cheap commands."""

    def __init__(self, parts: Parts) -> None:
        self._upkeep = IndexUpkeep(parts.redis)
        self._seat = parts.seat
        self._said = ""

    async def run(self) -> None:
        """Keep indexes until cancelled."""
        while True:
            await beat(EVERY_S)
            if self._seat.held:
                try:
                    for done in await self._upkeep.once():
                        log.info("index_kept", done=done)
                    self._said = ""
                except NexusError as error:
                    if self._said != str(error):  # once, as long as it is the same
                        self._said = str(error)
                        log.info("indexes_not_kept", error=self._said)
