"""The primary's keeper takes agents that were removed from the fleet out of the registry, which only keepers write."""

from contextlib import suppress

from agent_image.keeper.parts import Parts
from appliance.core import logs
from appliance.core.clock import beat
from appliance.core.desired_fleet import Desired, DesiredFleet, slot_of
from appliance.core.errors import NexusError, NotFound
from appliance.core.records import ClusterView

log = logs.get("keeper")
EVERY_S = 1.0


class Tidy:
    """Looks each second while this keeper holds the seat; who lives, or is not buried yet, is never touched."""

    def __init__(self, parts: Parts) -> None:
        self._postgres = parts.postgres
        self._registry = parts.registry
        self._seat = parts.seat
        self._desired = DesiredFleet(parts.postgres)

    async def run(self) -> None:
        """Tidy until cancelled."""
        while True:
            await beat(EVERY_S)
            if self._seat.held:
                try:
                    await self.once()
                except NexusError as error:
                    log.info("not_tidied", error=str(error))

    async def once(self) -> None:
        """Forget those that are dead, buried and not wished for; nobody where no number was ever wished for."""
        with suppress(NotFound):
            for agent in removed(await self._registry.view(), await self._desired.read()):
                # A boot that nobody has buried yet may still hold work, and its record is how the others notice.
                if not await self._postgres.rows("living_boots", agent=agent) and await self._registry.forget(agent):
                    log.info("agent_forgotten", agent=agent)


def removed(view: ClusterView, desired: Desired) -> list[str]:
    """Return the dead agents whose slot nobody wishes for. Pure."""
    dead = [(agent.id, slot_of(agent.id)) for agent in view.agents if not agent.boot_alive]
    return [name for name, slot in dead if slot is not None and slot not in desired.slots]
