"""The tool `remind`: what `/remind` does, for a model."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid5

from msgspec import Meta

from agent_image.runner.commands.grammar import parse
from agent_image.runner.commands.names import REMIND
from agent_image.runner.schedules import words
from agent_image.runner.tools import Call, Tool, ToolFailed, make
from appliance.core.errors import BadInput, Overloaded
from appliance.core.schedules import Schedules, Wish

When = Annotated[str, Meta(description="`in 10 minutes`, `tomorrow 9:00` or `2026-12-01 09:00`")]


def reminder(schedules: Schedules) -> Tool:
    """Return the tool; called again with the same key it is the same reminder."""

    async def remind(call: Call, when: When, text: str) -> str:
        """Remind your user of something in this conversation, once."""
        try:
            wish = parse(f"{REMIND} {when} {text}", now=datetime.now(UTC), time_zone=schedules.time_zone)
            if not isinstance(wish, Wish):
                raise ToolFailed("it is no reminder")
            id_ = str(uuid5(UUID(call.task), call.key))
            return words.made(await schedules.create(call.user, call.conversation, wish, id_=id_))
        except (BadInput, Overloaded) as error:
            raise ToolFailed(error.detail) from None

    return make(remind, "idempotent")
