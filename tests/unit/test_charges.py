"""What the storm says of calls that may not be repeated: it can tell a lost and a repeated one from one in order."""

import random

import pytest

from tests.bench.charges import Answer, Call, choice_of, wanted, wrong

AGAIN_UNMADE, AGAIN_MADE = Answer("again", 0), Answer("again", 1)
HAPPENED, LEFT = Answer("happened", 1), Answer("skip", 0)
FINE = {"repeated_unasked": 0, "lost": 0, "unasked": 0, "foreign": 0, "questions": 3, "answered": {"again": 3}}


@pytest.mark.parametrize(
    ("made", "answers", "repeated", "lost"),
    [
        (1, (), 0, False),
        (2, (), 1, False),
        (0, (), 0, True),
        (1, (HAPPENED,), 0, False),
        (2, (HAPPENED,), 1, False),
        (0, (LEFT,), 0, False),
        (1, (AGAIN_UNMADE,), 0, False),
        (0, (AGAIN_UNMADE,), 0, True),
        (2, (AGAIN_MADE,), 0, False),
        (1, (AGAIN_MADE,), 0, True),
        (3, (AGAIN_MADE,), 1, False),
        (1, (AGAIN_UNMADE, HAPPENED), 0, False),
        (1, (AGAIN_MADE, Answer("skip", 1)), 0, False),
    ],
)
def test_a_call_is_lost_or_repeated_by_what_its_person_said(
    made: int, answers: tuple[Answer, ...], repeated: int, lost: bool
) -> None:
    call = Call(made, answers, done=True)
    assert (call.repeated_unasked, call.lost) == (repeated, lost)


def test_a_turn_that_ended_visibly_without_an_answer_has_lost_nothing_in_silence() -> None:
    assert not Call(0, (), done=False).lost


def test_a_person_says_that_it_happened_only_when_the_till_shows_it() -> None:
    lot = random.Random(7)
    unseen = {choice_of(0, (), lot) for _ in range(200)}
    seen = {choice_of(1, (), lot) for _ in range(200)}
    after_again = {choice_of(1, (AGAIN_MADE,), lot) for _ in range(200)}
    assert (unseen, seen, after_again) == ({"again", "skip"}, {"again", "happened", "skip"}, {"again", "skip"})


def test_once_more_is_one_more_than_was_seen() -> None:
    assert [wanted(it) for it in ((), (HAPPENED,), (AGAIN_UNMADE,), (AGAIN_MADE, HAPPENED))] == [1, 1, 1, 2]


@pytest.mark.parametrize("name", ["repeated_unasked", "lost", "unasked", "foreign"])
def test_each_figure_that_must_be_0_is_told_when_it_is_not(name: str) -> None:
    assert wrong(FINE) == []
    assert wrong(FINE | {name: 2}) == [f"2 calls with side effects are {name}"]


def test_an_answer_without_a_question_is_wrong() -> None:
    assert wrong(FINE | {"questions": 2}) == ["2 questions, 3 answers"]
