"""How often somebody may try to sign in under one name."""

import time

from appliance.core.errors import Overloaded

TRIES, WINDOW_S, REMEMBERED = 5, 60.0, 10_000


class Throttle:
    """Counts tries by name in this process; those that are refused do not count, so that nobody can lock others out."""

    def __init__(self) -> None:
        self._tries: dict[str, list[float]] = {}

    def note(self, name: str) -> None:
        """Count a try; Overloaded when there were too many in the last minute."""
        now = time.monotonic()
        if len(self._tries) > REMEMBERED:  # many other names must not wash a blocked one out
            self._tries = {it: tries for it, tries in self._tries.items() if self._is_blocked(tries, now)}
        recent = [at for at in self._tries.get(name, []) if at > now - WINDOW_S]
        if self._is_blocked(recent, now):
            raise Overloaded("Too many tries for this name; wait a minute.")
        self._tries[name] = [*recent, now]

    def forget(self, name: str) -> None:
        """Forget the tries of who has signed in."""
        self._tries.pop(name, None)

    @staticmethod
    def _is_blocked(tries: list[float], now: float) -> bool:
        return sum(at > now - WINDOW_S for at in tries) >= TRIES
