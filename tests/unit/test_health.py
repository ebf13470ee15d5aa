"""When is a boot dead? (PROTOCOLS 6.4, 7.3)"""

import pytest

from appliance.core.health import Act, after_deposing, is_suspected, judge_eof, judge_silence


@pytest.mark.parametrize(
    ("gone_s", "act"),
    [(0.0, Act.NOTHING), (0.9, Act.NOTHING), (1.0, Act.RELEASE_TURNS), (3.4, Act.RELEASE_TURNS), (3.5, Act.BURY)],
)
def test_silence_first_hands_on_the_turns_and_only_then_is_death(gone_s: float, act: Act) -> None:
    assert judge_silence(gone_s, tilted=False).act is act


def test_an_observer_in_tilt_declares_nobody_dead() -> None:
    assert judge_silence(60, tilted=True).act is Act.NOTHING
    assert judge_eof(3, 60, tilted=True).act is Act.NOTHING


def test_an_ended_connection_alone_is_not_death() -> None:
    assert judge_eof(1, 0.3, tilted=False).act is Act.NOTHING


def test_a_second_observer_confirms_a_death() -> None:
    assert judge_eof(2, 0.1, tilted=False).act is Act.BURY


def test_an_unmoved_beat_confirms_a_death_without_a_second_observer() -> None:
    assert judge_eof(1, 0.7, tilted=False).act is Act.BURY


def test_a_newer_boot_in_its_place_is_the_death_of_the_old_one() -> None:
    assert judge_eof(1, None, tilted=False).act is Act.BURY


def test_every_verdict_gives_its_reason() -> None:
    assert "3.6 s" in judge_silence(3.6, tilted=False).reason
    assert "2 agents" in judge_eof(2, 0.1, tilted=False).reason


def test_three_missed_beats_are_a_suspicion() -> None:
    assert not is_suspected(1.5, beat_s=0.5, threshold=3)
    assert is_suspected(1.6, beat_s=0.5, threshold=3)


@pytest.mark.parametrize("evidence", ["eof", "released"])
def test_a_deposed_primary_that_is_known_to_be_dead_is_buried_at_once(evidence: str) -> None:
    assert after_deposing(evidence) is Act.BURY


def test_a_deposed_primary_that_may_only_be_cut_off_hands_on_its_turns_alone() -> None:
    assert after_deposing("lease") is Act.RELEASE_TURNS


@pytest.mark.parametrize("evidence", ["switchover", "first"])
def test_a_primary_that_handed_over_keeps_its_work(evidence: str) -> None:
    assert after_deposing(evidence) is Act.NOTHING
