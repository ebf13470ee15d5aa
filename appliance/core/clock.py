"""Durations on this host, and time zones. No time of here may be compared with another host's clock (DESIGN part 5)."""

import asyncio
import random
import time
from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

_TOO_SOON = 0.1
"""A timer may fire a little early; the beat it was set for has come all the same."""
_PHASE = random.random()  # noqa: S311 - only so that the programs of one machine do not all wake at the same moment


def monotonic() -> float:
    """Return seconds of CLOCK_BOOTTIME: it goes on while the machine sleeps, unlike CLOCK_MONOTONIC."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def beat(period_s: float) -> float:
    """Sleep until the next beat, about a period at most, and return how many seconds late that was.

    All loops of a process share the beat, so that it wakes once for all of them: waking is what an idle program costs.
    """
    pause_s = until_beat(period_s)
    due = monotonic() + pause_s
    await asyncio.sleep(pause_s)
    return max(0.0, monotonic() - due)


def until_beat(period_s: float) -> float:
    """Return how many seconds it is to the next beat, for who waits for something else as well."""
    pause_s = period_s - (asyncio.get_running_loop().time() - _PHASE) % period_s
    return pause_s if pause_s >= period_s * _TOO_SOON else pause_s + period_s


@cache
def zone(name: str) -> tzinfo:
    """Return a time zone by its name in the tz database.

    Raises:
        ValueError: there is none, with a sentence that says how they are written.
    """
    if name == "UTC":
        return UTC  # also on a machine without the database
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # KeyError is ZoneInfoNotFoundError; a folder's name is an OSError
        raise ValueError(f"There is no time zone {name[:40]!r}; write it like Europe/Berlin.") from None
