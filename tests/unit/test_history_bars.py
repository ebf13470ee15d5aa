"""A failover as text: bars that say how long, words that say why, both without colour."""

from datetime import UTC, datetime

import msgspec
import pytest

from appliance.cli.bars import bar, lines_of
from appliance.core.history import Contender, Failover

KILLED = Failover(
    epoch=8,
    kind="eof",
    reason="2 of 2 votes that agent-1 is gone (eof)",
    sole=False,
    old_primary="agent-1",
    old_boot=None,
    new_primary="agent-3",
    elected_at=datetime(2026, 1, 2, 14, 3, 22, tzinfo=UTC),
    served_at=datetime(2026, 1, 2, 14, 3, 23, tzinfo=UTC),
    voters=("agent-2", "agent-3"),
    quorum=2,
    candidates=(Contender("agent-3", 2), Contender("agent-2", 5, "ranked 2, behind agent-3"),
                Contender("agent-1", 1, "suspected itself")),
    detect_ms=151.4,
    agree_ms=8.13,
    elect_ms=12,
    promote_ms=31,
    first_turn_ms=58,
    moved=4,
    refused=1,
)  # fmt: skip


def text_of(failover: Failover, width: int = 80, *, ascii_only: bool = False) -> list[str]:
    return [text for text, _ in lines_of(failover, width=width, ascii_only=ascii_only)]


def but(**changes: object) -> Failover:
    return msgspec.structs.replace(KILLED, **changes)


def test_the_first_line_says_which_epoch_when_from_whom_to_whom_and_why() -> None:
    first = text_of(KILLED)[0]
    when = f"{KILLED.elected_at.astimezone():%Y-%m-%d %H:%M:%S}"
    assert first.startswith(f"epoch 8  {when}  agent-1 → agent-3  ")
    assert first.endswith("agent-1 died: its connection ended and it answered no probe")


def test_every_part_has_its_name_its_milliseconds_and_its_bar() -> None:
    bars = text_of(KILLED)[1:6]
    assert [line.split("ms")[0].split() for line in bars] == [
        ["detect", "151"], ["agree", "8.1"], ["elect", "12"], ["promote", "31"], ["first", "turn", "58"],
    ]  # fmt: skip
    assert [line.count("█") for line in bars] == [49, 2, 3, 10, 18]
    assert all(len(line) <= 80 for line in bars)


@pytest.mark.parametrize("width", [20, 40, 80, 300])
def test_bars_keep_their_proportions_in_any_terminal(width: int) -> None:
    detect, *_, first_turn = (line.count("#") for line in text_of(KILLED, width, ascii_only=True)[1:6])
    assert 8 <= detect <= 60
    assert first_turn == pytest.approx(detect * 58 / 151.4, abs=1)


def test_a_terminal_without_unicode_gets_plain_signs() -> None:
    assert "\n".join(text_of(KILLED, ascii_only=True)).isascii()


def test_what_took_any_time_is_seen_and_what_took_none_is_not() -> None:
    assert bar(0.001, 1000, 40) == "▏"
    assert bar(0.001, 1000, 40, ascii_only=True) == "#"
    assert bar(0, 1000, 40) == ""
    assert bar(0, 0, 40) == ""
    assert bar(1000, 1000, 40) == "█" * 40


def test_votes_scores_and_the_reasons_of_the_losers_are_told() -> None:
    text = "\n".join(text_of(KILLED))
    for said in (
        "agent-2, agent-3 (2 needed)",
        "agent-3, score 2: elected",
        "agent-2, score 5: ranked 2, behind agent-3",
        "agent-1, score 1: suspected itself",
        "4 conversations, 1 late write refused",
        "agent-3 served after 203 ms",
    ):
        assert said in text


def test_a_sole_survivor_is_flagged() -> None:
    assert "SOLE SURVIVOR" in "\n".join(text_of(but(sole=True, voters=("agent-3",))))
    assert "SOLE SURVIVOR" not in "\n".join(text_of(KILLED))


def test_what_was_not_measured_is_said_and_never_drawn() -> None:
    lines = text_of(but(promote_ms=None, served_at=None, first_turn_ms=None, moved=0, agree_ms=None))
    assert lines[2].endswith("not measured")
    assert lines[4].endswith("never served")
    assert lines[5].endswith("no turn moved")
    assert not any("served after" in line for line in lines)


def test_a_moved_turn_that_nobody_has_taken_up_is_said() -> None:
    assert text_of(but(first_turn_ms=None))[5].endswith("not taken up")


def test_a_failover_without_any_measurement_can_be_shown() -> None:
    nothing = but(detect_ms=None, agree_ms=None, elect_ms=None, promote_ms=None, first_turn_ms=None)
    assert sum("not measured" in line for line in text_of(nothing)) == 4


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("first", "the cluster had no primary yet"),
        ("eof", "agent-1 died"),
        ("lease", "agent-1 fell silent: its lease ran out"),
        ("released", "agent-1 gave its seat up"),
        ("switchover", "agent-1 handed over on purpose"),
        ("comet", "comet"),
    ],
)
def test_each_kind_has_plain_words(kind: str, words: str) -> None:
    assert but(kind=kind).cause.startswith(words)


def test_a_switchover_needed_no_votes() -> None:
    assert any("none needed" in line for line in text_of(but(kind="switchover", quorum=0, voters=())))


def test_the_first_primary_follows_nobody() -> None:
    assert "nobody → agent-3" in text_of(but(kind="first", old_primary=None))[0]
