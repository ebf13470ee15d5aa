"""The command line's decisions and words."""

import pytest

from appliance.cli.chat import Printer, facts_of, question_line, restart_line, taken_over, tool_line
from appliance.cli.common import out
from appliance.cli.embedded import exists, is_stopped
from appliance.cli.recorder import Recorder
from appliance.cli.status import UNSUPERVISED, problems_of
from appliance.core.errors import ModelError
from appliance.core.records import Agent, ClusterView, Lease, Status
from appliance.embedded.lifecycle import Service

RUNNING = [Service("supervisor", "running", 1), Service("redis", "running", 2), Service("agent-1", "running", 3)]


def view(*agents: Agent, primary: str | None = "agent-1") -> ClusterView:
    lease = Lease(primary, "boot", 1, 0) if primary else None
    return ClusterView(agents=agents, generation="g", epoch=1, redis_time=0, lease=lease)


def active(agent_id: str) -> Agent:
    return Agent(id=agent_id, status=Status.ACTIVE, boot_alive=True)


def test_a_whole_cluster_has_no_problem() -> None:
    assert problems_of(RUNNING, view(active("agent-1")), ("agent-1",)) == []


def test_nothing_running_is_one_problem_with_its_command() -> None:
    assert problems_of([Service("supervisor", "stopped", 0)], None, ("agent-1",)) == [
        "Nothing runs: `make up` starts it."
    ]


def test_a_dead_process_manager_is_said_while_programs_live() -> None:
    found = [Service("supervisor", "stopped", 0), Service("redis", "unsupervised", 2)]
    assert problems_of(found, view(active("agent-1")), ("agent-1",)) == [UNSUPERVISED]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (view(), ["agent-1 is not active."]),
        (view(active("agent-1"), primary=None), ["There is no primary."]),
    ],
)
def test_a_missing_agent_or_primary_is_said(seen: ClusterView, said: list[str]) -> None:
    assert problems_of(RUNNING, seen, ("agent-1",)) == said


def test_the_line_of_a_take_over_names_both_agents() -> None:
    assert taken_over({"from": "agent-1", "agent": "agent-3"}) == "agent-1 lost, agent-3 took over"
    assert taken_over({"from": "agent-3", "agent": "agent-3"}) == "agent-3 began again"


def test_the_facts_under_an_answer_include_why_another_model_answered() -> None:
    done = {"agent": "agent-1", "model": "claude/x", "input_tokens": 1, "output_tokens": 2, "ttft_ms": 3, "total_ms": 4}
    assert facts_of(done | {"reason": "bundled is away"}).endswith("total 4 ms · bundled is away")


def test_a_call_of_a_tool_is_one_line_each_time_it_stands_differently() -> None:
    tool = {"name": "send", "input": {"to": "ada"}}
    assert tool_line(tool | {"state": "running"}) == 'send {"to": "ada"}: running'
    assert tool_line(tool | {"state": "done"}) == "send: done"


def test_a_question_says_what_is_asked_and_about_what() -> None:
    question = {"tool": "send", "input": {"to": "ada"}, "about": 0}
    assert question_line(question) == 'May send be called with {"to": "ada"}?'
    assert "it may have happened, or not" in question_line(question | {"about": 2})


def test_a_turn_that_goes_on_after_an_answer_lost_nobody() -> None:
    event = {"agent": "agent-2", "from": "agent-1", "gap_ms": 70_000}
    assert restart_line(event | {"answered": True}) == "agent-2 goes on"
    assert restart_line(event) == "agent-1 lost, agent-2 took over, 70.0 s"


def test_a_failed_turn_is_an_error_with_its_reason() -> None:
    with pytest.raises(ModelError, match="no model"):
        Printer().show({"type": "failed", "reason": "no model", "attempt": 1})


def test_words_of_an_overtaken_attempt_are_not_printed() -> None:
    printer = Printer()
    with out.capture() as printed:
        printer.show({"type": "token", "text": "new", "attempt": 2})
        printer.show({"type": "token", "text": "old", "attempt": 1})
    assert printed.get() == "new"


def test_the_demo_counts_events_that_come_twice() -> None:
    recorder = Recorder()
    for cursor in ("g-1-0", "g-2-0", "g-2-0"):
        recorder.note({"type": "token", "text": "x", "cursor": cursor, "attempt": 1, "at_ms": 1})
    assert recorder.doubled == 1
    assert recorder.texts == {1: "xxx"}


def test_a_process_that_is_not_there_neither_exists_nor_is_stopped() -> None:
    assert not exists(2**22)
    assert not is_stopped(2**22)
    assert exists(1)
