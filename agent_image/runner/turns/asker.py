"""What a primary does about questions to people: those nobody answered in time, and those nobody may have heard."""

from agent_image.runner.turns.announcer import Announcer
from appliance.core import logs
from appliance.core.approvals import Approvals

log = logs.get("runner")


class Asker:
    """Two of the primary's sweeps."""

    def __init__(self, approvals: Approvals, announcer: Announcer, boot: str) -> None:
        self._approvals = approvals
        self._announcer = announcer
        self._boot = boot

    async def expire(self, epoch: int) -> None:
        """Let go on what waits for an answer that came too late; StaleEpoch when another primary is in force."""
        if expired := await self._approvals.sweep_expired(epoch, self._boot):
            log.warning("questions_expired", questions=expired)

    async def ask_again(self, _epoch: int) -> None:
        """Say questions that may have gone unsaid; each is fenced by its turn's attempt."""
        for approval, conversation, attempt in await self._approvals.unannounced():
            await self._announcer.ask(approval, conversation, attempt)
