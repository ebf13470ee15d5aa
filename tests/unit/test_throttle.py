"""Tries to sign in: counted by name."""

import pytest

from appliance.core.errors import Overloaded
from appliance.web.throttle import REMEMBERED, TRIES, Throttle


def blocked() -> Throttle:
    throttle = Throttle()
    for _ in range(TRIES):
        throttle.note("ada")
    return throttle


def test_the_sixth_try_in_a_minute_is_refused_for_this_name_alone() -> None:
    throttle = blocked()
    with pytest.raises(Overloaded, match="wait a minute"):
        throttle.note("ada")
    throttle.note("bob")


def test_many_other_names_do_not_wash_a_blocked_one_out() -> None:
    throttle = blocked()
    for number in range(REMEMBERED + 10):
        throttle.note(f"name {number}")
    with pytest.raises(Overloaded):
        throttle.note("ada")


def test_who_signs_in_begins_anew() -> None:
    throttle = blocked()
    throttle.forget("ada")
    throttle.note("ada")
