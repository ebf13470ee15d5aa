"""When an agent leaves tasks to the others, since its runners die (PROTOCOLS 7.6)."""

import pytest

from agent_image.keeper.brake import PAUSE_S, WITHIN_S, Brake


def test_the_third_death_within_a_minute_brakes() -> None:
    brake = Brake()
    assert [brake.died(at) for at in (100.0, 110.0)] == [0.0, 0.0]
    assert brake.died(100.0 + WITHIN_S) == 100.0 + WITHIN_S + PAUSE_S


def test_three_deaths_within_more_than_a_minute_are_no_matter() -> None:
    brake = Brake()
    assert [brake.died(at) for at in (0.0, 30.0, WITHIN_S + 0.1)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("fourth", "brakes"), [(30.0, True), (200.0, False)])
def test_each_further_death_within_the_minute_brakes_again(fourth: float, brakes: bool) -> None:
    brake = Brake()
    for at in (0.0, 10.0, 20.0):
        brake.died(at)
    assert bool(brake.died(fourth)) is brakes
