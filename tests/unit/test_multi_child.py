"""What a plan makes of the end of a sub-agent."""

import pytest

from agent_image.runner.multi.child import KEPT, MAX_TRIES, Child, Next, after_end
from agent_image.runner.multi.plan import Node, OnFailure
from appliance.core.records import Ended, TaskState
from appliance.core.task_batches import Progress


def child(on_failure: OnFailure = "continue", state: str = "dead", tries: int = 1) -> Child:
    made = Child(
        Node("a", "builder", "x", on_failure=on_failure), task="t", state=state, reason="broken", agent="agent-1"
    )
    made.earlier = [{} for _ in range(tries - 1)]
    return made


@pytest.mark.parametrize(
    ("on_failure", "state", "tries", "cut", "next_"),
    [
        ("continue", "dead", 1, False, "go on"),
        ("stop", "dead", 1, False, "stop"),
        ("stop", "failed", 1, True, "stop"),
        ("stop", "done", 1, False, "go on"),
        ("stop", "cancelled", 1, False, "stop"),
        ("stop", "cancelled", 1, True, "go on"),
        ("stop", "skipped", 1, True, "go on"),
        ("retry", "dead", 1, False, "again"),
        ("retry", "dead", MAX_TRIES, False, "go on"),
        ("retry", "dead", 1, True, "go on"),
        ("retry", "cancelled", 1, False, "go on"),
        ("retry", "done", 1, False, "go on"),
    ],
)
def test_its_policy_says_what_comes_next(on_failure: OnFailure, state: str, tries: int, cut: bool, next_: Next) -> None:
    assert after_end(child(on_failure, state, tries), cut=cut) == next_


def test_a_second_try_is_another_task_and_keeps_the_first() -> None:
    it = child("retry")
    key = it.key
    it.begin_again()
    assert it.key != key
    assert (it.task, it.state, it.agent, it.reason, it.ended) == ("", "waiting", "", "", False)
    assert it.earlier == [{"state": "dead", "agent": "agent-1", "seconds": 0.0, "reason": "broken"}]


def test_keys_of_two_sub_agents_and_their_tries_are_never_the_same() -> None:
    """Nor that of a tool's call, which is the turn's id and a number."""
    keys = {Child(Node(id_, "builder", "x"), earlier=[{}] * n).key for id_ in ("1", "1-1", "2") for n in range(2)}
    assert len(keys) == 6
    assert not any(key.isdigit() for key in keys)


def test_what_ended_shows_its_result_and_keeps_its_beginning() -> None:
    it = child(state="running")
    it.settle(Ended(TaskState.DONE, {"text": "y" * (KEPT + 1), "tokens": 7, "agent": "agent-2"}, seconds=1.26))
    assert (it.state, it.tokens, it.agent, it.seconds) == ("done", 7, "agent-2", 1.3)
    assert len(it.found()) == KEPT + 1
    assert len(it.kept()["text"]) == KEPT


def test_who_found_nothing_says_why() -> None:
    it = child(state="running")
    it.settle(Ended(TaskState.DEAD, None, "no model answers"))
    assert it.found() == "(none: no model answers)"


def test_what_is_closed_was_cancelled_or_never_begun() -> None:
    running, waiting = child(state="running"), child(state="waiting")
    waiting.task = ""
    running.close("enough")
    waiting.close("enough")
    assert (running.state, running.reason) == ("cancelled", "enough")
    assert (waiting.state, waiting.reason, waiting.ended) == ("skipped", "not begun: enough", True)


def test_progress_is_shown_once_and_never_over_a_result() -> None:
    it = child(state="queued")
    assert it.shows(Progress(TaskState.RUNNING, "agent-3", 0.5))
    assert not it.shows(Progress(TaskState.RUNNING, "agent-3", 0.9))
    assert not it.shows(Progress(TaskState.DONE, "agent-3", 1.0))
    it.settle(Ended(TaskState.DONE, {"text": "y"}))
    assert not it.shows(Progress(TaskState.RUNNING, "agent-4", 1.0))
    assert (it.state, it.agent) == ("done", "agent-3")
