"""What this runner knows of the other agents: the registry, read each second, so that no request waits for it."""

from appliance.core import logs
from appliance.core.clock import beat
from appliance.core.errors import StoreAway
from appliance.core.health import why_no_new_conversation
from appliance.core.records import Agent, ClusterView, Status
from appliance.core.registry import Registry
from appliance.core.settings import Settings

log = logs.get("runner")
LOOK_S = 1.0


class Neighbours:
    """The last view of the registry; while Redis is away the one before it stands."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._me = settings.cluster_agent_id
        self._min_secondaries = settings.cluster_min_secondaries
        self._view: ClusterView | None = None

    async def run(self) -> None:
        """Look each second until cancelled."""
        while True:
            try:
                self._view = await self._registry.view()
            except StoreAway as error:
                log.info("registry_unread", error=str(error))
            await beat(LOOK_S)

    def named(self) -> tuple[Agent, ...]:
        """Return every other agent the registry names, whatever it was doing at that look."""
        agents = self._view.agents if self._view else ()
        return tuple(it for it in agents if it.id != self._me)

    def others_serve(self) -> bool:
        """Whether another agent can take this one's streams."""
        return any(it.boot_alive and it.status is Status.ACTIVE for it in self.named())

    def why_no_new_conversation(self) -> str:
        """Return why a new conversation is refused now, '' when it is not."""
        return why_no_new_conversation(self._view, self._min_secondaries) if self._view else ""
