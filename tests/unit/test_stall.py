"""How long a keeper waits for a runner whose event loop stands still (PROTOCOLS 6.1)."""

from types import SimpleNamespace
from typing import Any

from agent_image.keeper.stall import KILL_OTHER_S, KILL_PRIMARY_S, Stall
from agent_image.shared_page import SharedPage
from appliance.core.clock import monotonic
from appliance.core.records import Status


class Bench:
    """A runner's page, and a keeper that leads or not."""

    def __init__(self, *, leads: bool, tilted: bool = False) -> None:
        self.page = SharedPage.create()
        self.page.status = Status.ACTIVE
        self.seat = SimpleNamespace(held=leads)
        parts: Any = SimpleNamespace(page=self.page, seat=self.seat, tilt=tilted)
        self.stall = Stall(parts, child=SimpleNamespace())  # type: ignore[arg-type]

    def stands_still(self, for_s: float) -> bool:
        """Whether the runner is overdue when it has stood still for so long."""
        self.page.loop_tick = monotonic() - for_s
        return self.stall.is_overdue()


def test_a_primary_that_stands_still_is_waited_for_3_s() -> None:
    bench = Bench(leads=True)
    assert not bench.stands_still(KILL_PRIMARY_S - 0.5)
    assert bench.stands_still(KILL_PRIMARY_S + 0.1)


def test_another_agent_is_waited_for_10_s() -> None:
    bench = Bench(leads=False)
    assert not bench.stands_still(KILL_OTHER_S - 0.5)
    assert bench.stands_still(KILL_OTHER_S + 0.1)


def test_a_primary_that_loses_its_seat_by_standing_still_is_not_given_longer() -> None:
    """Its users wait for the same answer, whether the kill or the next election comes first."""
    bench = Bench(leads=True)
    assert not bench.stands_still(KILL_PRIMARY_S - 0.1)
    bench.seat.held = False
    assert bench.stands_still(KILL_PRIMARY_S + 0.1)


def test_an_agent_that_gave_its_seat_up_in_good_health_is_any_agent() -> None:
    bench = Bench(leads=True)
    assert not bench.stands_still(0.0)
    bench.seat.held = False
    assert not bench.stands_still(0.1)
    assert not bench.stands_still(KILL_PRIMARY_S + 0.1)


def test_a_keeper_in_tilt_kills_nobody() -> None:
    assert not Bench(leads=True, tilted=True).stands_still(KILL_OTHER_S + 1)


def test_a_runner_is_judged_from_its_first_tick_on_whatever_it_says_of_itself() -> None:
    """One that hangs in the first task it takes has had no time to say that it has started."""
    bench = Bench(leads=False)
    bench.page.status = Status.STARTING
    assert bench.stands_still(KILL_OTHER_S + 0.1)


def test_a_runner_whose_loop_has_not_turned_yet_is_not_judged() -> None:
    bench = Bench(leads=False)
    bench.page.loop_tick = 0.0
    assert not bench.stall.is_overdue()
