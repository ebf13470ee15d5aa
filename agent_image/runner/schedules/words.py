"""How reminders and jobs are put into words. Pure."""

from datetime import UTC, datetime

from appliance.core.clock import zone
from appliance.core.schedules import Due, Schedule

LATE_S = 60.0
"""From here on a run is called late; what it comes later than by less is the machine's ordinary delay."""
SHOWN = 80


def moment(at: datetime, time_zone: str) -> str:
    """Return an instant as a clock in `time_zone` shows it, in UTC where that zone is unknown.

    `Tue 2026-12-01 09:00 (Europe/Berlin)`
    """
    try:
        local = at.astimezone(zone(time_zone))
    except ValueError:  # another machine's time zones; what is due is said all the same
        local, time_zone = at.astimezone(UTC), "UTC"
    return f"{local:%a %Y-%m-%d %H:%M} ({time_zone})"


def when(it: Schedule) -> str:
    """Return when one comes next, and by which expression."""
    said = moment(it.next_at, it.time_zone) if it.next_at else "never again"
    return f"`{it.cron}`, next {said}" if it.cron else said


def brief(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def made(it: Schedule) -> str:
    """Return what is answered to whoever made one."""
    what = f"Job {it.no} runs by" if it.cron else f"Reminder {it.no} is set for"
    return f"{what} {when(it)}: {brief(it.text)}\n\n`/forget {it.no}` cancels it."


def listed(all_of_them: list[Schedule]) -> str:
    """Return the answer to `/reminders`."""
    if not all_of_them:
        return "You have no reminders and no jobs. Set one: `/remind in 10 minutes call Ada`"
    return "\n".join(f"- **{it.no}** {when(it)}: {brief(it.text)}" for it in all_of_them)


def forgotten(it: Schedule) -> str:
    """Return what is answered to whoever cancelled one, the first time or again."""
    what = f"{'Job' if it.cron else 'Reminder'} {it.no} ({brief(it.text)})"
    return f"{what} has come already." if it.state == "done" else f"{what} is cancelled."


def label(due: Due) -> str:
    """Return what a run says of itself: which one, due when, and how late if it is."""
    it = due.schedule
    late = f", {_length(due.late_s)} late" if due.late_s > LATE_S else ""
    return f"{'Job' if it.cron else 'Reminder'} {it.no}: {moment(due.at, it.time_zone)}{late}"


def _length(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
