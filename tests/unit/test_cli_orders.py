"""Orders that cannot be carried out are refused with the reason, before anything is written."""

import pytest

from appliance.cli.status import AgentStatus, problems_of, state_words
from appliance.core.errors import BadInput, Conflict
from appliance.core.order_rules import check_drain, check_switchover
from appliance.core.orders import ANYBODY
from appliance.core.records import Agent, ClusterView, Lease, Role, Status
from appliance.embedded.lifecycle import Service


def agent(number: int, **more: object) -> Agent:
    facts = {"id": f"agent-{number}", "status": Status.ACTIVE, "boot_alive": True, "electable": True}
    return Agent(**facts | more)  # type: ignore[arg-type]


def view(*agents: Agent, primary: str | None = "agent-1") -> ClusterView:
    lease = Lease(primary, "boot", 1, 0) if primary else None
    return ClusterView(agents=agents, generation="g", epoch=1, redis_time=0, lease=lease)


def test_an_unknown_agent_is_refused_with_the_names_there_are() -> None:
    seen = view(agent(1), agent(2))
    for check in (check_drain, check_switchover):
        with pytest.raises(BadInput, match=r"There is no agent 'agent-9'; there are: agent-1, agent-2\."):
            check(seen, "agent-9")


def test_an_agent_that_does_not_run_is_neither_drained_nor_elected() -> None:
    seen = view(agent(1), agent(2, boot_alive=False), agent(3))
    with pytest.raises(Conflict, match="agent-2 does not run, so there is nothing to drain"):
        check_drain(seen, "agent-2")
    with pytest.raises(Conflict, match="agent-2 cannot follow: agent-2 does not run"):
        check_switchover(seen, "agent-2")


def test_the_last_active_agent_is_not_drained() -> None:
    seen = view(agent(1), agent(2, status=Status.DRAINING), agent(3, boot_alive=False))
    with pytest.raises(Conflict, match="agent-1 is the last active agent"):
        check_drain(seen, "agent-1")
    check_drain(view(agent(1), agent(2)), "agent-1")


def test_the_primary_does_not_follow_itself() -> None:
    with pytest.raises(Conflict, match="agent-1 is the primary already"):
        check_switchover(view(agent(1), agent(2)), "agent-1")


def test_an_agent_that_may_not_be_elected_does_not_follow() -> None:
    seen = view(agent(1), agent(2, electable=False, status=Status.DRAINING))
    with pytest.raises(Conflict, match="agent-2 is secondary, draining, and may not be elected"):
        check_switchover(seen, "agent-2")


def test_without_a_primary_there_is_no_seat_to_hand_over() -> None:
    with pytest.raises(Conflict, match="There is no primary"):
        check_switchover(view(agent(1), agent(2), primary=None), "agent-2")


def test_the_best_one_is_asked_for_only_when_there_is_one() -> None:
    with pytest.raises(Conflict, match="Nobody else may follow: agent-1 is the primary already; agent-2 does not run"):
        check_switchover(view(agent(1), agent(2, boot_alive=False)), ANYBODY)
    check_switchover(view(agent(1), agent(2)), ANYBODY)


def line(**more: object) -> AgentStatus:
    facts: dict[str, object] = {
        "id": "agent-1", "role": "secondary", "status": "active", "sdown": 0, "boot": "", "keeper_pid": 0,
        "runner_pid": 0, "port": 0, "heartbeat_age_s": 0.1, "load": 3, "max_load": 20, "models": (),
    }  # fmt: skip
    return AgentStatus(**facts | more)  # type: ignore[arg-type]


def test_status_says_what_a_draining_agent_has_left_and_who_is_suspected() -> None:
    assert state_words(line()) == "active"
    assert state_words(line(status="draining")) == "draining, 3 left"
    assert state_words(line(sdown=1)) == "active, suspected by 1"
    assert state_words(line(sdown=1, status="failed")) == "failed"


def test_a_draining_agent_is_no_problem_and_a_stopped_one_is_said_once() -> None:
    running = [Service("supervisor", "running", 1), Service("agent-1", "running", 2), Service("agent-2", "running", 3)]
    seen = view(agent(1), agent(2, status=Status.DRAINING))
    assert problems_of(running, seen, ("agent-1", "agent-2")) == []
    stopped = [*running[:2], Service("agent-2", "stopped", 0)]
    gone = view(agent(1), agent(2, status=Status.FAILED, boot_alive=False, role=Role.SECONDARY))
    assert problems_of(stopped, gone, ("agent-1", "agent-2")) == ["agent-2 is stopped: `make up` starts it."]
