"""Attempts of tasks that run here: started, ended early, each with how it ended as its only outcome."""

import asyncio
import random
from collections.abc import Callable
from typing import Literal

import msgspec

from agent_image.runner.isolation import TASK_WAITS_S, Isolation
from agent_image.runner.tasks.kinds import handler_of
from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.errors import NexusError
from appliance.core.records import Ended, Task, TaskState
from appliance.core.task_batches import Flags

log = logs.get("tasks")
Why = Literal["stopped", "deadline", "lost"]
BACK_OFF_S = (1.0, 5.0, 25.0)
"""Upper ends of the pauses before another try; each is drawn from zero to there ("full jitter", PROTOCOLS 7.6)."""


class Tried(msgspec.Struct, frozen=True):
    """A failed try."""

    reason: str
    delay_s: float
    """Until the next one."""


Outcome = Ended | Tried


class Attempts:
    """What runs, by task id; each outcome goes to `told`, except of what is no longer ours."""

    def __init__(self, told: Callable[[Task, Outcome], None], isolation: Isolation) -> None:
        self._told = told
        self._isolation = isolation
        self._runs: dict[str, tuple[Task, asyncio.Task[None]]] = {}
        self._why: dict[str, Why] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def start(self, task: Task) -> None:
        """Run a task that was just claimed."""
        self._runs[task.id] = task, asyncio.create_task(self._run(task), name=f"task {task.id}")

    async def _run(self, task: Task) -> None:
        outcome: Outcome | None
        began = monotonic()
        try:
            async with self._isolation.of(task.id, task.crash_count, TASK_WAITS_S):
                result = await handler_of(task.kind)(task)
            outcome = Ended(TaskState.DONE, result, seconds=monotonic() - began)
        except asyncio.CancelledError:
            outcome = _ended_early(task, self._why.get(task.id, "lost"))
        except NexusError as error:
            outcome = _tried(task, error.detail)
        except Exception as error:  # whatever an author's code raises is a failed try of this task, of no other
            log.error("task_failed", task=task.id, kind=task.kind, error=repr(error), exc_info=error)
            outcome = _tried(task, repr(error))
        del self._runs[task.id]
        self._why.pop(task.id, None)
        if outcome is not None:
            self._told(task, outcome)

    def heed(self, owned: dict[str, Flags], begun: frozenset[str]) -> None:
        """End those of `begun` that were cancelled, are overdue, or are no longer ours by the ledger's rows `owned`."""
        for id_ in begun & self._runs.keys():
            flags, task = owned.get(id_), self._runs[id_][0]
            if flags is None or flags.attempt != task.attempt:
                self._end(id_, "lost")
            elif flags.cancelled:
                self._end(id_, "stopped")
            elif flags.overdue:
                self._end(id_, "deadline")

    def ids(self) -> frozenset[str]:
        """Return the ids of what runs now."""
        return frozenset(self._runs)

    def _end(self, id_: str, why: Why) -> None:
        self._why.setdefault(id_, why)
        self._runs[id_][1].cancel()

    async def let_go(self, within_s: float) -> None:
        """End everything without an outcome: its rows are handed back."""
        runs = [run for _, run in self._runs.values()]
        for run in runs:
            run.cancel()
        if runs:
            await asyncio.wait(runs, timeout=within_s)


def _tried(task: Task, reason: str) -> Tried:
    most = BACK_OFF_S[min(task.fail_count, len(BACK_OFF_S) - 1)]
    return Tried(reason, random.uniform(0, most))  # noqa: S311 - only spreads the load


def _ended_early(task: Task, why: Why) -> Outcome | None:
    """Return what becomes of a task that was ended before its time; None when it is another attempt's by now."""
    match why:
        case "stopped":
            return Ended(TaskState.CANCELLED, reason="stopped on request")
        case "deadline":
            return _tried(task, "It took longer than a task may.")
    return None
