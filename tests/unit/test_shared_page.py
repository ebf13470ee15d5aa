"""The page a keeper and its runner share: what one writes the other reads; how long a primary may act (6.1)."""

from collections.abc import Iterator

import pytest

from agent_image.shared_page import SharedPage
from appliance.core.records import Role, Status


@pytest.fixture
def page() -> Iterator[SharedPage]:
    made = SharedPage.create()
    yield made
    made.memory.close()


def test_an_agent_begins_as_a_secondary_that_may_not_act(page: SharedPage) -> None:
    assert page.role is Role.SECONDARY
    assert not page.may_act_as_primary(0.0)


def test_a_primary_may_act_until_its_deadline_and_not_a_moment_longer(page: SharedPage) -> None:
    page.role, page.lease_deadline = Role.PRIMARY, 1000.0
    assert page.may_act_as_primary(999.99)
    assert not page.may_act_as_primary(1000.0)


@pytest.mark.parametrize("role", [Role.SECONDARY, Role.STANDBY])
def test_a_deadline_alone_makes_nobody_primary(page: SharedPage, role: Role) -> None:
    page.role, page.lease_deadline = role, 1000.0
    assert not page.may_act_as_primary(1.0)


def test_tasks_are_braked_until_the_deadline_and_not_a_moment_longer(page: SharedPage) -> None:
    assert not page.brakes(0.0)
    page.brake_deadline = 1000.0
    assert page.brakes(999.99)
    assert not page.brakes(1000.0)


def test_what_one_side_writes_the_other_reads(page: SharedPage) -> None:
    other = SharedPage(page.descriptor)
    page.epoch, page.role, page.status, page.lease_deadline = 7, Role.PRIMARY, Status.DRAINING, 12.5
    other.load, other.loop_tick, other.reigning, other.drained = 3, 99.25, 1, 1
    assert (other.epoch, other.role, other.status, other.lease_deadline) == (7, Role.PRIMARY, Status.DRAINING, 12.5)
    assert (page.load, page.loop_tick, page.reigning, page.drained) == (3, 99.25, 1, 1)
    other.memory.close()
