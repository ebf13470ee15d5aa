"""Numbers as people type them."""

import pytest

from appliance.core.errors import BadInput
from appliance.core.typed import seconds, whole

WIDE_SIX = "\N{FULLWIDTH DIGIT SIX}"


@pytest.mark.parametrize(("typed", "number"), [("4", 4), (4, 4), (" 4 ", 4), ("-1", -1), ("+2", 2)])
def test_a_whole_number_is_read(typed: int | str, number: int) -> None:
    assert whole(typed, means="say how many") == number


@pytest.mark.parametrize("typed", ["", "two", "1_0", WIDE_SIX, "4.0", 2.5, "0x10", "1e3", "9" * 5000, "nan"])
def test_what_is_no_whole_number_is_named_shortly_with_what_was_asked_for(typed: float | str) -> None:
    with pytest.raises(BadInput, match=r"is not a whole number: say how many\.") as refused:
        whole(typed, means="say how many")
    assert len(refused.value.detail) < 90


@pytest.mark.parametrize(("typed", "number"), [("0", 0.0), ("2.5", 2.5), (60, 60.0), ("60", 60.0)])
def test_seconds_are_read(typed: float | str, number: float) -> None:
    assert seconds(typed, least=0, most=60, means="it has") == number


@pytest.mark.parametrize("typed", ["", "soon", "1_0", WIDE_SIX, "nan", "inf", "1e1", "5 s"])
def test_what_is_no_number_of_seconds_is_answered_with_the_bounds(typed: str) -> None:
    with pytest.raises(BadInput, match=r"is not a number of seconds: it has 0 to 60 seconds\."):
        seconds(typed, least=0, most=60, means="it has")


@pytest.mark.parametrize("typed", ["-1", -0.5, "61", 1e9])
def test_seconds_out_of_bounds_are_answered_with_the_bounds(typed: float | str) -> None:
    with pytest.raises(BadInput, match=r"seconds cannot be: it has 0 to 60 seconds\."):
        seconds(typed, least=0, most=60, means="it has")
