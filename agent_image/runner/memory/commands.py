"""Carries out the commands about memories. Each bears repeating: its agent may die before the answer is kept."""

from agent_image.runner.commands.memory_grammar import Correct, Erase, EraseAll, Memories, OfMemory, Remember
from agent_image.runner.memory import words
from agent_image.runner.memory.memories import MemoryService
from agent_image.runner.memory.recall import person_of
from appliance.core.records import Turn, User


class MemoryCommands:
    """The answers; `agent` is who gives them."""

    def __init__(self, memories: MemoryService, agent: str) -> None:
        self._memories = memories
        self._agent = agent

    async def answer(self, turn: Turn, wanted: OfMemory) -> str:
        """Return the answer once it is done. NotFound and BadInput say in words what cannot be; StoreAway."""
        memories = self._memories
        user = person_of(turn)
        match wanted:
            case Remember(text):
                origin = await memories.origin(turn.id, "command", self._agent)
                memory, new = await memories.remember(user, text, origin)
                return words.kept(memory, new=new)
            case Correct(no, text):
                origin = await memories.origin(turn.id, "command", self._agent)
                return words.corrected(no, await memories.correct(user, no, text, origin))
            case Erase(no):
                await memories.erase(user, no)
                return words.erased(no)
            case EraseAll(sure):
                if sure:
                    await memories.erase_all(user)
                return words.ALL_ERASED if sure else words.ASK_TWICE
            case Memories(query):
                return await self._listed(user, query)

    async def _listed(self, user: User, query: str) -> str:
        if not query:
            return words.listed(await self._memories.store.listing(user, limit=words.LISTED))
        found, note = await self._memories.find(user, query)
        return words.listed(found, query, note)
