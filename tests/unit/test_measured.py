"""What the control plane says of a reading, and whom Prometheus is told to ask."""

from typing import Any

import msgspec
import pytest

from appliance.core import metrics
from appliance.core.records import Agent, ClusterView, Status
from control_plane.discovery import targets_of
from control_plane.measured import agents, elections, work


def view(*members: Agent) -> ClusterView:
    return ClusterView(agents=members, generation="g", epoch=1, redis_time=0.0)


def active(agent_id: str, **more: Any) -> Agent:
    agent = Agent(id=agent_id, status=Status.ACTIVE, boot_alive=True, host="10.0.0.1", port=80)
    return msgspec.structs.replace(agent, **more)


def text_of(*found: Any) -> list[str]:
    text = metrics.exposition(metrics.Taken(tuple(found))).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


LEFT = active("agent-4", status=Status.DRAINING, boot_alive=False, beat_age_s=60.0)
DEAD = active("agent-3", boot_alive=False, beat_age_s=10.2)


def test_every_status_is_counted_and_who_left_is_not_missed() -> None:
    said = text_of(*agents(view(active("agent-1", beat_age_s=0.2), active("agent-2"), DEAD, LEFT), threshold=3))
    assert 'nexus_cluster_agents_total{status="active"} 2.0' in said
    assert 'nexus_cluster_agents_total{status="failed"} 1.0' in said
    assert 'nexus_cluster_agents_total{status="left"} 1.0' in said
    assert 'nexus_cluster_agents_total{status="suspected"} 0.0' in said
    assert 'nexus_heartbeat_missed{agent="agent-1"} 0.0' in said
    assert 'nexus_heartbeat_missed{agent="agent-3"} 20.0' in said
    assert not [line for line in said if "agent-4" in line]


def test_a_dead_agent_is_asked_and_one_that_left_is_not() -> None:
    found = targets_of(view(active("agent-1"), DEAD, LEFT, active("agent-5", port=0)))
    assert found == [
        {"targets": ["10.0.0.1:80"], "labels": {"agent": "agent-1"}},
        {"targets": ["10.0.0.1:80"], "labels": {"agent": "agent-3"}},
    ]


def test_no_election_yet_is_no_failover_and_no_time() -> None:
    said = text_of(*elections([], None))
    assert 'nexus_failover_total{kind="eof"} 0.0' in said
    assert not [line for line in said if line.startswith("nexus_failover_timestamp")]


def test_a_part_that_was_not_measured_is_left_out() -> None:
    newest = {"kind": "eof", "new_primary": "agent-2", "at": 1_700_000_000.5,
              "detect_ms": 150.0, "agree_ms": 30.0, "elect_ms": None, "promote_ms": None}  # fmt: skip
    said = text_of(*elections([{"kind": "eof", "number": 2, "newest": 3}], newest))
    assert 'nexus_failover_total{kind="eof"} 2.0' in said
    assert 'nexus_failover_timestamp_seconds{kind="eof",primary="agent-2"} 1.7000000005e+09' in said
    assert 'nexus_failover_part_seconds{part="detect"} 0.15' in said
    assert not [line for line in said if 'part="elect"' in line]


def test_every_priority_is_said_even_when_nothing_waits() -> None:
    said = text_of(*work([], {"running": 0, "dead": 0, "unservable": 0, "epoch": 1, "desired": None}))
    assert {f'nexus_tasks_pending{{priority="{it}"}} 0.0' for it in ("high", "normal", "low")} <= set(said)


def test_the_first_in_line_is_told_by_priority_and_what_is_put_off_has_not_waited() -> None:
    pending = [
        {"priority": "high", "pending": 2, "oldest_s": 7.5},
        {"priority": "low", "pending": 1, "oldest_s": -60.0},
    ]
    said = text_of(*work(pending, {"running": 0, "dead": 0, "unservable": 0, "epoch": 1, "desired": None}))
    assert [line.split()[-1] for line in said if line.startswith("nexus_tasks_oldest")] == ["7.5", "0.0", "0.0"]


@pytest.mark.parametrize("reading", metrics.READINGS, ids=lambda reading: reading.name)
def test_a_name_says_what_it_is(reading: metrics.Reading) -> None:
    ends_in_total = reading.name.endswith("_total") and reading is not metrics.AGENTS
    assert (reading.kind == "counter") == ends_in_total
    assert reading.help.endswith(".")
