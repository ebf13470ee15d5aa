"""Durations on this host. Nothing here may be compared with another host's clock (DESIGN part 5)."""

import time


def monotonic() -> float:
    """Return seconds of CLOCK_BOOTTIME: it goes on while the machine sleeps, unlike CLOCK_MONOTONIC."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
