"""The commands' grammar. Pure: text, a moment and a time zone in, what is wanted or a clear refusal out.

/remind [tz=ZONE] in NUMBER seconds|minutes|hours|days|weeks TEXT
/remind [tz=ZONE] today|tomorrow|YYYY-MM-DD HH:MM TEXT
/every [tz=ZONE] [missed=once|skip] "MINUTE HOUR DAY MONTH WEEKDAY" TEXT
/reminders
/forget NUMBER

Those about memories: `memory_grammar.py`.
"""

import re
from datetime import date, datetime, time, timedelta

import msgspec

from agent_image.runner.commands.memory_grammar import OfMemory, parse_memory
from agent_image.runner.commands.names import EVERY, FORGET, REMIND, REMINDERS, name_of
from agent_image.runner.schedules.instants import CRON_EXAMPLE, on_the_wall, zone_of
from agent_image.runner.schedules.wishes import job, reminder
from appliance.core.errors import BadInput
from appliance.core.schedules import Missed, Wish

REMIND_EXAMPLES = (
    "`/remind in 10 minutes call Ada`, `/remind tomorrow 9:00 call Ada` or `/remind 2026-12-01 09:00 call Ada`"
)
_OPTION = re.compile(r"(\w+)=(\S*)\s*")
_IN = re.compile(r"in\s+(\d{1,7})\s*(s|min|h|second|minute|hour|day|week)s?\s+(\S.*)", re.DOTALL | re.ASCII)
_AT = re.compile(r"(today|tomorrow|\d{4}-\d{1,2}-\d{1,2})\s+(\d{1,2}):(\d{2})\s+(\S.*)", re.DOTALL | re.ASCII)
_CRON = re.compile(r"""["“”„]([^"“”„]*)["“”„]\s+(\S.*)""", re.DOTALL)
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours"}
_MISSED: dict[str, Missed] = {"once": "once", "skip": "skip"}


class Listing(msgspec.Struct, frozen=True):
    """Wants to see what is planned."""


class Forget(msgspec.Struct, frozen=True):
    """Wants the one of this number cancelled."""

    no: int


Wanted = Wish | Listing | Forget | OfMemory


def parse(text: str, *, now: datetime, time_zone: str) -> Wanted | None:
    """Return what a message wants that came at `now`; None when it is no command.

    Raises:
        BadInput: it cannot be; the sentence says why and shows one that can.
    """
    name = name_of(text)
    rest = text.strip().removeprefix(name).strip()
    match name:
        case "/remind":
            options, rest = _options(REMIND, rest, ("tz",))
            return _reminder(rest, options.get("tz", time_zone), now)
        case "/every":
            options, rest = _options(EVERY, rest, ("tz", "missed"))
            return _job(rest, options.get("tz", time_zone), options.get("missed", "once"), now)
        case "/reminders":
            if rest:
                raise BadInput(f"`{REMINDERS}` stands alone; to set one: {REMIND_EXAMPLES}.")
            return Listing()
        case "/forget":
            if not re.fullmatch(r"[0-9]{1,9}", rest):
                raise BadInput(f"Say which one by its number: `{FORGET} 3`; `{REMINDERS}` lists them.")
            return Forget(int(rest))
    return parse_memory(name, rest)


def _options(name: str, rest: str, known: tuple[str, ...]) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    while option := _OPTION.match(rest):
        if option[1] not in known:
            raise BadInput(f"{name} has no option `{option[1]}=`; it has {' and '.join(f'`{it}=`' for it in known)}.")
        found[option[1]] = option[2]
        rest = rest[option.end() :]
    return found, rest


def _reminder(rest: str, time_zone: str, now: datetime) -> Wish:
    zone_of(time_zone)
    if said := _IN.fullmatch(rest):
        number, unit, text = said.groups()
        length = timedelta(**{_UNITS.get(unit, f"{unit}s"): int(number)})
        return reminder(text, now + min(length, timedelta(days=100_000)), time_zone, now=now)
    if said := _AT.fullmatch(rest):
        day, hour, minute, text = said.groups()
        at = on_the_wall(_day(day, now.astimezone(zone_of(time_zone)).date()), _clock(hour, minute), time_zone)
        return reminder(text, at, time_zone, now=now)
    raise BadInput(f"Say when and what: {REMIND_EXAMPLES}.")


def _day(said: str, today: date) -> date:
    if said in ("today", "tomorrow"):
        return today + timedelta(days=said == "tomorrow")
    try:
        return date(*map(int, said.split("-")))
    except ValueError:
        raise BadInput(f"There is no day {said}; write it like `2026-12-01`.") from None


def _clock(hour: str, minute: str) -> time:
    try:
        return time(int(hour), int(minute))
    except ValueError:
        raise BadInput(f"There is no time {hour}:{minute}; write it like `9:00` or `21:30`.") from None


def _job(rest: str, time_zone: str, missed: str, now: datetime) -> Wish:
    if missed not in _MISSED:
        raise BadInput("After missed runs there is one late run (`missed=once`) or none (`missed=skip`).")
    said = _CRON.fullmatch(rest)
    if not said:
        raise BadInput(f"Say how often, in quotes, and what: {CRON_EXAMPLE} (minute, hour, day, month, weekday).")
    return job(said[2], " ".join(said[1].split()), time_zone, missed=_MISSED[missed], now=now)
