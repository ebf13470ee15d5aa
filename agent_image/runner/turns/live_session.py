"""A turn's session while it runs: who has it, with which tools and sub-agents, for other agents and operators to read.

What Redis does not take now is in the next write; no turn waits for it or fails because of it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agent_image.runner.multi.child import Child
from appliance.core import logs
from appliance.core.errors import StoreAway
from appliance.core.records import Turn
from appliance.core.working_memory import Past, SubAgent, WorkingMemory

log = logs.get("memory")


class LiveSession:
    """The session of one attempt."""

    def __init__(self, memory: WorkingMemory, turn: Turn, agent: str) -> None:
        self._memory = memory
        self._turn = turn
        self._agent = agent
        self._team: dict[str, SubAgent] = {}
        self._told: dict[str, SubAgent] = {}
        self._telling: asyncio.Task[None] | None = None

    async def begin(self, past: Past, tools: tuple[str, ...], memory_context: str = "") -> None:
        """Show who runs this turn now."""
        await self._quietly(
            lambda: self._memory.begin(self._turn, past, agent=self._agent, tools=tools, memory_context=memory_context)
        )

    def team_is(self, children: list[Child]) -> None:
        """Show how sub-agents stand; never waits. While one write is under way, changes gather for the next."""
        self._team = {it.node.id: SubAgent(it.state, it.model, it.task) for it in children}
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name=f"session of {self._turn.id}")

    async def end(self, past: Past, model: str) -> None:
        """Keep the session as it is after this turn, which `past` holds already."""
        if self._telling is not None:
            await self._telling
        await self._quietly(lambda: self._memory.remember(self._turn, past, agent=self._agent, model=model))

    async def _tell(self) -> None:
        while self._told != self._team:
            self._told = self._team
            await self._quietly(lambda: self._memory.note_team(self._turn, self._told))

    async def _quietly(self, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except StoreAway as error:
            log.info("session_not_told", conversation=self._turn.conversation_id, error=str(error))
