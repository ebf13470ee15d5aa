"""When an instant comes, above all where clocks change. 2027: forward on 28 March, back on 31 October, at 01:00 UTC."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_image.runner.schedules.instants import following, on_the_wall
from appliance.core.errors import BadInput

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def coming(cron: str, after: str, count: int, time_zone: str = BERLIN) -> list[datetime]:
    found, last = [], at(after)
    for _ in range(count):
        instant = following(cron, time_zone, last)
        assert instant is not None
        found.append(last := instant)
    return found


def test_a_job_follows_the_clock_on_the_wall_through_summer_and_winter() -> None:
    assert coming("0 8 * * 1-5", "2027-03-26T12:00", 2) == [at("2027-03-29T06:00"), at("2027-03-30T06:00")]
    assert coming("0 8 * * 1-5", "2027-10-29T12:00", 2) == [at("2027-11-01T07:00"), at("2027-11-02T07:00")]
    assert coming("0 8 * * *", "2027-03-27T12:00", 2, "UTC") == [at("2027-03-28T08:00"), at("2027-03-29T08:00")]


def test_a_job_whose_hour_is_left_out_runs_as_soon_as_clocks_have_gone_forward() -> None:
    assert coming("30 2 * * *", "2027-03-27T12:00", 2) == [at("2027-03-28T01:00"), at("2027-03-29T00:30")]


def test_a_job_whose_hour_comes_twice_runs_once() -> None:
    assert coming("30 2 * * *", "2027-10-30T12:00", 2) == [at("2027-10-31T00:30"), at("2027-11-01T01:30")]


def test_in_the_second_pass_of_an_hour_nothing_of_the_first_comes_again() -> None:
    assert coming("30 2 * * *", "2027-10-31T01:10", 1) == [at("2027-11-01T01:30")]


def test_a_job_of_every_half_hour_runs_through_both_changes_without_a_gap() -> None:
    for change in ("2027-03-28T00:15", "2027-10-31T00:15"):
        runs = coming("*/30 * * * *", change, 6)
        assert {(b - a).total_seconds() for a, b in pairwise(runs)} == {1800.0}


@given(
    minute=st.integers(0, 59), hour=st.sampled_from(["*", "*/3", "2", "1,2,3"]),
    seconds=st.integers(0, 220 * 86400),
)  # fmt: skip
def test_what_follows_is_always_later(minute: int, hour: str, seconds: int) -> None:
    after = at("2027-03-27T00:00") + timedelta(seconds=seconds)
    found = following(f"{minute} {hour} * * *", BERLIN, after)
    assert found is not None
    assert 0 < (found - after).total_seconds() <= 26 * 3600


def test_an_expression_that_never_comes_has_nothing_that_follows() -> None:
    assert following("* * */20 * 1L", "UTC", at("2027-01-01T00:00")) is None
    assert following("0 8 29 2 1", "UTC", at("9999-12-31T00:00")) is None


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("61 * * * *", "no cron expression (bad minute); write it like `/every"),
        ("0 8 30 2 *", "bad day-of-month"),
        ("* * * * * *", "needs five fields, minute, hour, day, month and weekday"),
        ("@daily", "needs five fields"),
        (f"{'1,' * 60}1 * * * *", "needs five fields"),
    ],
)
def test_what_is_no_expression_is_refused_with_an_example(cron: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        following(cron, "UTC", at("2027-01-01T00:00"))
    assert why in refused.value.detail
    assert '`/every "0 8 * * 1-5"' in refused.value.detail


def test_a_time_of_day_is_that_of_its_zone_and_the_first_of_two() -> None:
    assert on_the_wall(date(2026, 12, 1), time(9), BERLIN) == at("2026-12-01T08:00")
    assert on_the_wall(date(2027, 10, 31), time(2, 30), BERLIN) == at("2027-10-31T00:30")


def test_a_time_that_clocks_leave_out_is_refused_with_the_one_they_show() -> None:
    with pytest.raises(BadInput, match="Clocks go forward over 02:30 on 2027-03-28") as refused:
        on_the_wall(date(2027, 3, 28), time(2, 30), BERLIN)
    assert "write `2027-03-28 03:30`" in refused.value.detail


def test_a_zone_that_there_is_not_is_refused_with_one_that_there_is() -> None:
    for name in ("Berlin", "../../etc/passwd", "Europe", ""):
        with pytest.raises(BadInput, match="write it like Europe/Berlin"):
            following("0 8 * * *", name, at("2027-01-01T00:00"))
