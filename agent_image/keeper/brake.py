"""Runners that die one after the other: the next one leaves tasks to the others for a while (PROTOCOLS 7.6)."""

from collections import deque

DEATHS, WITHIN_S, PAUSE_S = 3, 60.0, 10.0


class Brake:
    """Counts the deaths of this agent's runners. Pure."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=DEATHS)

    def died(self, now: float) -> float:
        """Note a death; return until when no task is to be fetched, 0 when that is no matter yet.

        Each further death within the minute brakes again.
        """
        self._deaths.append(now)
        often = len(self._deaths) == DEATHS and now - self._deaths[0] <= WITHIN_S
        return now + PAUSE_S if often else 0.0
