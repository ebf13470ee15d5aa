"""Checks commands before they are accepted, and carries them out when their turn runs."""

from datetime import UTC, datetime

from agent_image.runner.commands.grammar import Forget, Listing, Wanted, parse
from agent_image.runner.commands.names import is_command
from agent_image.runner.memory.commands import MemoryCommands
from agent_image.runner.schedules import words
from agent_image.runner.schedules.wishes import SENT_AGAIN
from appliance.core.errors import BadInput, Conflict, NotFound, Overloaded
from appliance.core.records import Turn, User
from appliance.core.schedules import Schedules, Wish


class Commands:
    """The answers that no model gives. Everything bears repeating: a schedule has the id of the turn that made it."""

    def __init__(self, schedules: Schedules, memories: MemoryCommands) -> None:
        self._schedules = schedules
        self._memories = memories

    def check(self, text: str) -> None:
        """Return if a message may be accepted, as far as its words tell; BadInput says what is wrong with it."""
        parse(text, now=datetime.now(UTC) - SENT_AGAIN, time_zone=self._schedules.time_zone)

    async def answer(self, turn: Turn) -> str | None:
        """Return the answer of a turn that needs no model, once it is carried out; None: a model is to be asked.

        Raises:
            StoreAway: call it again; nothing is done twice.
        """
        if turn.ready is not None or not is_command(turn.text):
            return turn.ready
        now = await self._schedules.asked_at(turn)
        try:
            return await self._done(turn, parse(turn.text, now=now, time_zone=self._schedules.time_zone))
        except (BadInput, Conflict, NotFound, Overloaded) as error:  # only now can it be known
            return error.detail

    async def _done(self, turn: Turn, wanted: Wanted | None) -> str:
        user = User(id=turn.user_id, name="", tenant_id=turn.tenant_id)
        match wanted:
            case Wish():
                return words.made(await self._schedules.create(user, turn.conversation_id, wanted, id_=turn.id))
            case Forget():
                return words.forgotten(await self._schedules.cancel(user, no=wanted.no))
            case None | Listing():
                return words.listed(await self._schedules.listing(user))
            case _:
                return await self._memories.answer(turn, wanted)
