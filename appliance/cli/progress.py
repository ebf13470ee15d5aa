"""Never silent for more than a second: what is at work, and how long it took."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from appliance.cli.common import out

_QUIET_S = 0.9


class Steps:
    """Prints a line per step that took noticeable time, and meanwhile says what is at work."""

    def __init__(self) -> None:
        self._running: dict[str, float] = {}
        self._ended = threading.Event()
        self._spoke = time.monotonic()
        self._thread = threading.Thread(target=self._keep_talking, daemon=True)
        self._status = out.status("") if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if self._status:
            self._status.stop()

    def began(self, what: str) -> None:
        """A step begins."""
        self._running[what] = time.monotonic()

    def done(self, what: str, seconds: float) -> None:
        """A step ended."""
        self._running.pop(what, None)
        if seconds >= 0.05:
            self.say(f"{what} {seconds:.1f} s")

    def say(self, words: str) -> None:
        """Print one line of good news."""
        self._running.pop("a first question", None)
        self._spoke = time.monotonic()
        out.print(f"  [green]✓[/] {words}")

    def _keep_talking(self) -> None:
        while not self._ended.wait(0.2):
            now = time.monotonic()
            at_work = ", ".join(f"{what} {now - began:.0f} s" for what, began in list(self._running.items()))
            if self._status:
                self._status.update(at_work)
            elif at_work and now - self._spoke > _QUIET_S:
                self._spoke = now
                out.print(f"    … {at_work}", style="dim")
