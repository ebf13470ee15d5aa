"""The gateway's list of agents: planned changes only (PROTOCOLS 6.6)."""

from pathlib import Path

from appliance.core.records import Agent, ClusterView, Role, Status
from appliance.gateway.members import listed, members
from appliance.gateway.nginx_config import NOBODY, render, replace, upstream_list

A, B = ("10.0.0.1", 81), ("10.0.0.2", 82)


def view(*agents: Agent) -> ClusterView:
    return ClusterView(agents=agents, generation="g", epoch=1, redis_time=0)


def an_agent(address: tuple[str, int], status: Status, *, alive: bool = True, role: Role = Role.SECONDARY) -> Agent:
    return Agent(id=f"agent-{address[1]}", host=address[0], port=address[1], status=status, boot_alive=alive, role=role)


def test_an_agent_that_serves_joins_and_one_that_only_starts_does_not() -> None:
    found = members(view(an_agent(A, Status.ACTIVE), an_agent(B, Status.STARTING)), frozenset())
    assert found == {A}


def test_an_agent_that_is_merely_silent_stays() -> None:
    assert members(view(an_agent(A, Status.ACTIVE, alive=False)), frozenset({A})) == {A}


def test_an_agent_that_drains_leaves() -> None:
    found = members(view(an_agent(A, Status.DRAINING), an_agent(B, Status.ACTIVE)), frozenset({A, B}))
    assert found == {B}


def test_an_agent_that_drains_stays_while_there_is_no_other() -> None:
    draining = an_agent(A, Status.DRAINING)
    assert members(view(draining), frozenset({A})) == {A}
    assert members(view(draining), frozenset()) == {A}
    assert members(view(draining, an_agent(B, Status.ACTIVE, alive=False)), frozenset({A, B})) == {A, B}


def test_a_standby_is_listed_only_when_no_other_agent_is_there() -> None:
    standby = an_agent(A, Status.ACTIVE, role=Role.STANDBY)
    assert members(view(standby, an_agent(B, Status.ACTIVE)), frozenset({A, B})) == {B}
    assert members(view(standby, an_agent(B, Status.DRAINING)), frozenset({B})) == {A}
    assert members(view(standby), frozenset()) == {A}


def test_a_standby_joins_beside_an_agent_that_has_died_and_leaves_when_it_is_back() -> None:
    standby = an_agent(A, Status.ACTIVE, role=Role.STANDBY)
    assert members(view(standby, an_agent(B, Status.FAILED, alive=False)), frozenset({B})) == {A, B}
    assert members(view(standby, an_agent(B, Status.ACTIVE)), frozenset({A, B})) == {B}


def test_an_elected_standby_is_an_agent_like_any_other() -> None:
    elected = an_agent(A, Status.ACTIVE, role=Role.PRIMARY)
    assert members(view(elected, an_agent(B, Status.ACTIVE)), frozenset({B})) == {A, B}


def test_an_empty_registry_changes_nothing() -> None:
    assert members(view(), frozenset({A, B})) == {A, B}


def test_the_list_can_be_read_back() -> None:
    assert listed(upstream_list([B, A])) == {A, B}
    assert listed(NOBODY) == frozenset()


def test_a_server_that_fails_once_is_left_alone_for_two_seconds() -> None:
    assert upstream_list([A]) == "server 10.0.0.1:81 max_fails=1 fail_timeout=2s;\n"


def test_a_rendered_folder_has_no_placeholder_left_and_keeps_its_lists(tmp_path: Path) -> None:
    render(tmp_path, listen="127.0.0.1:8080")
    replace(tmp_path / "agents.conf", upstream_list([A]))
    render(tmp_path, listen="127.0.0.1:8080")
    text = (tmp_path / "nginx.conf").read_text()
    assert not any(name in text for name in ("${LISTEN}", "${WORKERS}", "${USER}"))
    assert "listen 127.0.0.1:8080;" in text
    assert listed((tmp_path / "agents.conf").read_text()) == {A}


def test_writing_the_same_list_again_says_that_nothing_changed(tmp_path: Path) -> None:
    assert replace(tmp_path / "f", "x")
    assert not replace(tmp_path / "f", "x")
