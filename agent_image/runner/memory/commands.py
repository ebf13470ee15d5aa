"""Carries out the commands about memories. Each bears repeating: its agent may die before the answer is kept."""

from agent_image.runner.commands.memory_grammar import Correct, Erase, EraseAll, Memories, OfMemory, Remember
from agent_image.runner.memory import words
from agent_image.runner.memory.memories import MemoryService
from appliance.core.records import Turn, User


class MemoryCommands:
    """The answers; `agent` is who gives them."""

    def __init__(self, memories: MemoryService, agent: str) -> None:
        self._memories = memories
        self._agent = agent

    async def answer(self, turn: Turn, wanted: OfMemory) -> str:
        """Return the answer once it is done. NotFound and BadInput say in words what cannot be; StoreAway."""
        memories = self._memories
        user = User(id=turn.user_id, name="", tenant_id=turn.tenant_id)
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
                if not sure:
                    return words.ASK_TWICE
                await memories.erase_all(user)
                return words.ALL_ERASED
            case Memories(query):
                return words.listed(await memories.find(user, query, limit=words.LISTED), query)
