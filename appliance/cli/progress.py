"""Never silent for more than a second: what is at work, and how long it took."""

import sys
import threading
import time
from itertools import groupby
from types import TracebackType
from typing import Self

from appliance.cli.common import err, out

_QUIET_S = 0.9
_NAMES = {"postgres": "PostgreSQL", "redis": "Redis (JSON, search)"}


class _Thread:
    """Calls `_look` a few times a second while the block runs."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._spoke = self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        raise NotImplementedError


class Patience(_Thread):
    """Says on standard error what is at work whenever nothing was printed for a second."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def spoke(self) -> None:
        """Something was printed: the next silence begins."""
        self._spoke = time.monotonic()

    def _look(self, now: float) -> None:
        if now - self._spoke > _QUIET_S:
            self._spoke = now
            err.print(f"    … {self.what} {now - self._began:.0f} s", style="dim", markup=False)


class Steps(_Thread):
    """Prints a line for each step, those that ended together on one, and meanwhile says what is at work."""

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[str, float] = {}
        self._ended_steps: list[tuple[str, str]] = []
        self._status = out.status("") if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        super().__exit__(kind, error, _)
        if self._status:
            self._status.stop()
        self._flush()

    def began(self, what: str) -> None:
        """A step begins."""
        self._flush()
        self._running[what] = time.monotonic()

    def done(self, what: str, seconds: float) -> None:
        """A step ended."""
        self._running.pop(what, None)
        if seconds >= 0.05:
            self._ended_steps.append((_NAMES.get(what, what), f"{seconds:.1f} s"))

    def say(self, words: str) -> None:
        """Print something worth knowing that is no success."""
        self._print(f"[yellow]![/] {words}")

    def ran(self, command: str) -> None:
        """Print a command that is about to run; it could be typed by hand."""
        self._spoke = time.monotonic()
        out.print(f"  $ {command}", style="dim", markup=False)

    def proved(self, what: str, words: str) -> None:
        """A step ended with a proof: print it."""
        self._running.pop(what, None)
        self._print(f"[green]✓[/] {words}")

    def _flush(self) -> None:
        """Print what ended since the last line: `agent-1, agent-2 2.1 s · gateway 0.9 s`."""
        groups = groupby(self._ended_steps, key=lambda step: step[1])
        parts = [f"{', '.join(name for name, _ in group)} {seconds}" for seconds, group in groups]
        self._ended_steps = []
        if parts:
            self._print(f"[green]✓[/] {' · '.join(parts)}")

    def _print(self, line: str) -> None:
        self._spoke = time.monotonic()
        out.print(f"  {line}")

    def _look(self, now: float) -> None:
        at_work = ", ".join(f"{what} {now - began:.0f} s" for what, began in list(self._running.items()))
        if self._status:
            self._status.update(at_work)
        elif at_work and now - self._spoke > _QUIET_S:
            self._spoke = now
            out.print(f"    … {at_work}", style="dim")
