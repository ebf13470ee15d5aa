"""What may be wished: the same limits whether it is typed in the chat or sent by a program. Pure."""

from datetime import datetime, timedelta

from agent_image.runner.commands.names import NAMES, is_command
from agent_image.runner.multi.message import is_multi
from agent_image.runner.multi.message import read as plan_of
from agent_image.runner.schedules.instants import CRON_EXAMPLE, following, zone_of
from agent_image.runner.schedules.words import moment
from appliance.core.errors import BadInput
from appliance.core.schedules import Missed, Wish

FARTHEST = timedelta(days=3653)
SENT_AGAIN = timedelta(minutes=5)
"""What was accepted may be sent again so much later: what was ahead then is not refused now."""


def reminder(text: str, at: datetime, time_zone: str, *, now: datetime) -> Wish:
    """Return the wish to be reminded once; BadInput when `at` is past or too far away."""
    zone_of(time_zone)
    if at < now:
        raise BadInput(f"{moment(at, time_zone)} is past; write a later time: `/remind tomorrow 9:00 {_short(text)}`.")
    if at - now > FARTHEST:
        raise BadInput(
            "A reminder may be ten years away at most; write a nearer one: `/remind in 52 weeks look again`."
        )
    return Wish(text=text, time_zone=time_zone, next_at=at)


def job(text: str, cron: str, time_zone: str, *, missed: Missed, now: datetime) -> Wish:
    """Return the wish that a model answers `text` again and again.

    Raises:
        BadInput: no cron expression, one that never comes, a command that makes others, or an impossible `/multi` plan.
    """
    if is_command(text):
        raise BadInput(f"A job asks a model, so it cannot begin with {', '.join(NAMES)}: {CRON_EXAMPLE}.")
    if is_multi(text):
        plan_of(text)
    first = following(cron, time_zone, now)
    if first is None:
        raise BadInput(f"`{cron}` never comes; write a day that there is: {CRON_EXAMPLE}.")
    return Wish(text=text, time_zone=time_zone, next_at=first, cron=cron, missed=missed)


def _short(text: str) -> str:
    return text if len(text) <= 40 and "\n" not in text else "call Ada"
