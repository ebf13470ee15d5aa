"""The timeline of a task, from rows: what is told, in which order, in which words."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from appliance.core.records import TaskState
from appliance.core.task_timeline import Asked, Attempt, Life, Refused, Rows, StepDone, timeline

ID = UUID(int=1)


def at(seconds: float) -> datetime:
    return datetime(2026, 11, 28, tzinfo=UTC) + timedelta(seconds=seconds)


def life(state: TaskState, **more: Any) -> Life:
    facts: dict[str, Any] = {
        "task": ID, "kind": "thumbnail", "state": state, "attempt": 1, "reason": "", "created_at": at(0),
        "claimed_at": at(1), "dispatched_at": at(0.5), "due_at": at(0), "state_at": at(2), "cancel_requested_at": None,
        "person": "ada", "agent": "agent-1",
    }  # fmt: skip
    return Life(**facts | more)


def attempt(number: int, **more: Any) -> Attempt:
    facts: dict[str, Any] = {
        "task": ID, "attempt": number, "agent": "agent-2", "claimed_at": at(number), "ended_at": at(number + 0.5),
        "became": TaskState.QUEUED, "failed": True, "reason": f"broke {number}", "death": None,
    }  # fmt: skip
    return Attempt(**facts | more)


def step(no: int, **more: Any) -> StepDone:
    facts: dict[str, Any] = {
        "task": ID, "no": no, "kind": "model", "name": "tiny", "state": "done", "attempt": 1, "tokens": 1234,
        "started_at": at(1.2), "finished_at": at(1.7),
    }  # fmt: skip
    return StepDone(**facts | more)


def told(*args: Any, **rows: Any) -> list[str]:
    return [f"{it.what}{f' ({it.why})' if it.why else ''}" for it in timeline(Rows(*args, **rows))]


def test_what_went_well_needs_no_row_but_its_own() -> None:
    assert told(life(TaskState.DONE), steps=(step(1),)) == [
        "published by ada", "agents were told of it", "attempt 1 claimed by agent-1",
        "step 1: model tiny done after 0.50 s, 1,234 tokens", "done",
    ]  # fmt: skip


def test_what_failed_is_told_try_by_try_and_its_last_reason_once() -> None:
    dead = attempt(2, became=TaskState.DEAD)
    assert told(life(TaskState.DEAD, attempt=2, state_at=at(2.5), reason="broke 2"), attempts=(attempt(1), dead)) == [
        "published by ada", "agents were told of it", "attempt 1 claimed by agent-2",
        "attempt 1 failed, to be tried again (broke 1)", "attempt 2 claimed by agent-2",
        "attempt 2 failed, for good (broke 2)", "dead",
    ]  # fmt: skip


def test_an_agent_that_died_of_something_is_named_with_it() -> None:
    released = attempt(1, failed=False, reason="", death="its keeper saw it die")
    assert told(life(TaskState.RUNNING, attempt=2, claimed_at=at(3)), attempts=(released,))[3:] == [
        "attempt 1 was handed back to the queue (agent-2 has ended: its keeper saw it die)",
        "attempt 2 claimed by agent-1",
    ]


def test_what_waits_says_since_when_and_for_what() -> None:
    waiting = life(TaskState.QUEUED, attempt=0, claimed_at=None, due_at=at(9), state_at=at(0))
    moments = timeline(Rows(waiting))
    assert [it.what for it in moments] == [
        "published by ada", "agents were told of it", "may run from now on, waits for an agent",
    ]  # fmt: skip
    assert moments[-1].at == at(9)
    behind = life(TaskState.WAITING, attempt=0, claimed_at=None, dispatched_at=None)
    assert told(behind)[-1] == "waits for what comes before it"


def test_a_turn_that_was_claimed_as_it_was_accepted_began_then() -> None:
    assert timeline(Rows(life(TaskState.DONE, claimed_at=None, dispatched_at=None)))[1].at == at(0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"finished_at": None, "state": "intent"}, "step 1: model tiny was begun"),
        ({"finished_at": None, "state": "unknown"}, "step 1: model tiny is unknown"),
        ({"no": -2, "name": "", "tokens": 0}, "a step of the payload before: model done after 0.50 s"),
    ],
)
def test_a_step_says_how_far_it_came(more: dict[str, Any], said: str) -> None:
    number = more.pop("no", 1)
    assert said in told(life(TaskState.RUNNING), steps=(step(number, **more),))


def test_what_people_asked_and_what_came_too_late_stand_among_the_rest() -> None:
    asked = Asked(str(ID), at(1.5), "olga", "cancel task", "")
    late = Refused(ID, at(3), "commit_tasks", 1, "agent-3")
    found = told(
        life(TaskState.CANCELLED, reason="cancelled by olga", cancel_requested_at=at(1.5)), asked=(asked,),
        refused=(late,),
    )  # fmt: skip
    assert found[3:5] == ["olga: cancel task", "cancelled (cancelled by olga)"]
    assert found[5:] == ["a late write was refused (commit_tasks)"]


def test_a_task_that_its_own_person_stopped_says_so() -> None:
    found = told(life(TaskState.CANCELLED, cancel_requested_at=at(1.5)))
    assert found[-2:] == ["asked to stop", "cancelled"]


def test_an_attempt_that_waits_for_somebody_was_put_aside() -> None:
    aside = attempt(1, failed=False, reason="", became=TaskState.WAITING)
    assert "attempt 1 was put aside, it waits" in told(life(TaskState.WAITING), attempts=(aside,))
