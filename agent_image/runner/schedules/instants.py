"""From what a clock on the wall says to instants, around the changes of daylight saving too. Pure."""

from datetime import UTC, date, datetime, time, tzinfo

from cronsim import CronSim, CronSimError

from appliance.core.clock import zone
from appliance.core.errors import BadInput

CRON_EXAMPLE = '`/every "0 8 * * 1-5" summarise the news`'
MAX_EXPRESSION = 100


def on_the_wall(day: date, clock: time, time_zone: str) -> datetime:
    """Return the instant (UTC) at which clocks in `time_zone` show this; the first one when they show it twice.

    Raises:
        BadInput: clocks go forward over it, so they never show it; the sentence names what they show instead.
    """
    said = datetime.combine(day, clock, zone_of(time_zone))
    instant = said.astimezone(UTC)
    shown = instant.astimezone(said.tzinfo)
    if shown.replace(tzinfo=None) != said.replace(tzinfo=None):
        raise BadInput(
            f"Clocks go forward over {said:%H:%M} on {said:%Y-%m-%d} ({time_zone}), so it never comes; "
            f"write `{shown:%Y-%m-%d %H:%M}`."
        )
    return instant


def following(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """Return the first instant (UTC) later than `after` that a cron expression names; None when none ever comes.

    Daylight saving as in Debian's cron: a job at a fixed hour runs once a day, also when its hour is left out (then as
    soon as clocks have gone forward) or comes twice; one of every hour or minute follows the hours as they pass.

    Raises:
        BadInput: it is no expression of five fields.
    """
    if len(cron) > MAX_EXPRESSION or len(cron.split()) != 5:
        raise BadInput(f"A job needs five fields, minute, hour, day, month and weekday: {CRON_EXAMPLE}.")
    try:
        # Inside the hour that comes twice the simulator may name an instant of its first pass: that has been.
        return next(
            (at for it in CronSim(cron, after.astimezone(zone_of(time_zone))) if (at := it.astimezone(UTC)) > after),
            None,
        )
    except CronSimError as error:
        raise BadInput(
            f"`{cron}` is no cron expression ({str(error).lower()}); write it like {CRON_EXAMPLE}."
        ) from None
    except OverflowError:
        return None


def zone_of(name: str) -> tzinfo:
    """Return a time zone; BadInput when there is none of this name."""
    try:
        return zone(name)
    except ValueError as error:
        raise BadInput(str(error)) from None
