"""When a keeper does not trust its own view (PROTOCOLS 6.1, tilt), by a clock the test moves."""

import pytest

from agent_image.keeper import tilt as module
from agent_image.keeper.tilt import Tilt
from appliance.core.health import CLOCK_STEP_S, TILT_GAP_S
from appliance.core.settings import BEAT_S, LEASE_S

LATE_S = TILT_GAP_S + 0.1


class World:
    """One keeper's tilt, its clock, and a Redis whose clock goes beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.redis_ahead_s = 5000.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.tilt = Tilt()

    @property
    def tilted(self) -> bool:
        return bool(self.tilt)

    def beat(self, after_s: float = BEAT_S, *, late_s: float = 0.0, generation: str | None = "g") -> None:
        self.now += after_s
        self.tilt.note_reply(late_s=late_s, redis_time=self.now + self.redis_ahead_s, generation=generation)

    def beat_for(self, seconds: float, *, late_s: float = 0.0) -> None:
        for _ in range(round(seconds / BEAT_S)):
            self.beat(late_s=late_s)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    made.beat()
    assert not made.tilted
    return made


def test_a_keeper_in_a_calm_cluster_trusts_itself(world: World) -> None:
    for _ in range(100):
        world.beat()
        assert not world.tilted


def test_redis_silence_is_tilt_from_the_first_moment_that_is_too_long(world: World) -> None:
    world.now += TILT_GAP_S - 0.01
    assert not world.tilted
    world.now += 0.02
    assert world.tilted


def test_after_a_gap_to_redis_tilt_lasts_one_lease_from_the_first_good_reply(world: World) -> None:
    world.beat(BEAT_S + LATE_S)
    world.beat_for(LEASE_S - BEAT_S)
    assert world.tilted
    world.beat()
    assert not world.tilted


def test_a_gap_of_the_own_timer_is_tilt(world: World) -> None:
    world.beat(late_s=LATE_S)
    assert world.tilted


def test_a_timer_that_is_a_little_late_is_not(world: World) -> None:
    world.beat(late_s=TILT_GAP_S)
    assert not world.tilted


@pytest.mark.parametrize("step_s", [CLOCK_STEP_S + 0.1, -CLOCK_STEP_S - 0.1, 3600.0, -3600.0])
def test_a_step_of_redis_clock_is_tilt(world: World, step_s: float) -> None:
    world.redis_ahead_s += step_s
    world.beat()
    assert world.tilted
    world.beat_for(LEASE_S)
    assert not world.tilted


def test_a_step_is_noticed_in_any_reply(world: World) -> None:
    world.tilt.note_view(world.now + world.redis_ahead_s + 1, "g")
    assert world.tilted


def test_a_clock_that_drifts_is_followed(world: World) -> None:
    for _ in range(20):
        world.redis_ahead_s += 0.1
        world.beat()
        assert not world.tilted


@pytest.mark.parametrize("generation", [None, "another"])
def test_a_redis_that_lost_its_data_is_tilt(world: World, generation: str | None) -> None:
    world.beat(generation=generation)
    assert world.tilted


def test_a_redis_that_was_empty_from_the_start_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.beat(generation=None)
    world.beat()
    assert not world.tilted


def test_a_generation_that_is_missing_for_a_moment_and_returns_is_no_new_loss(world: World) -> None:
    world.beat(generation=None)
    world.beat_for(LEASE_S)
    assert not world.tilted


def test_a_keeper_that_starts_beside_a_living_primary_begins_in_tilt(world: World) -> None:
    world.tilt.begin_in_tilt()
    world.beat()
    assert world.tilted
    world.beat_for(LEASE_S)
    assert not world.tilted


def test_under_steady_overload_tilt_is_prolonged_only_once(world: World) -> None:
    """A cluster in which everybody is always in tilt would never replace anybody."""
    world.beat(late_s=LATE_S)
    world.beat(late_s=LATE_S)
    world.beat_for(LEASE_S - BEAT_S, late_s=LATE_S)
    assert world.tilted
    world.beat(late_s=LATE_S)
    assert not world.tilted


def test_a_loss_of_data_counts_whatever_was_before(world: World) -> None:
    for _ in range(3):
        world.beat(late_s=LATE_S)
    world.beat_for(LEASE_S, late_s=LATE_S)
    assert not world.tilted
    world.beat(generation="another")
    assert world.tilted


def test_after_a_quiet_lease_tilt_may_be_prolonged_again(world: World) -> None:
    for _ in range(2):
        world.beat(late_s=LATE_S)
    world.beat_for(2 * LEASE_S)
    world.beat(late_s=LATE_S)
    world.beat_for(LEASE_S - BEAT_S)
    world.beat(late_s=LATE_S)
    assert world.tilted
    world.beat_for(LEASE_S - BEAT_S)
    assert world.tilted
