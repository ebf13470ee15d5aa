"""From a message to what it wants, or to a refusal with an example."""

from datetime import UTC, datetime, timedelta

import pytest

from agent_image.runner.commands.grammar import Forget, Listing, parse
from agent_image.runner.commands.names import is_command
from appliance.core.errors import BadInput
from appliance.core.schedules import Wish

NOW = datetime(2026, 11, 28, 22, 30, tzinfo=UTC)
"""Saturday; in Berlin it is 23:30."""


def wanted(text: str, time_zone: str = "UTC") -> Wish:
    found = parse(text, now=NOW, time_zone=time_zone)
    assert isinstance(found, Wish)
    return found


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ("in 10 minutes", NOW + timedelta(minutes=10)),
        ("in 1 second", NOW + timedelta(seconds=1)),
        ("in 90s", NOW + timedelta(seconds=90)),
        ("in 2 h", NOW + timedelta(hours=2)),
        ("in 3 days", NOW + timedelta(days=3)),
        ("in 52 weeks", NOW + timedelta(weeks=52)),
        ("2026-12-01 09:00", datetime(2026, 12, 1, 9, tzinfo=UTC)),
        ("2026-12-1 9:00", datetime(2026, 12, 1, 9, tzinfo=UTC)),
        ("today 23:00", datetime(2026, 11, 28, 23, tzinfo=UTC)),
        ("tomorrow 9:00", datetime(2026, 11, 29, 9, tzinfo=UTC)),
    ],
)
def test_a_reminder_has_a_moment_and_a_text(when: str, at: datetime) -> None:
    assert wanted(f"/remind {when} call Ada\nabout lunch") == Wish("call Ada\nabout lunch", "UTC", at)


def test_a_moment_is_meant_in_the_zone_that_is_named_else_in_the_usual_one() -> None:
    nine = datetime(2026, 11, 29, 8, tzinfo=UTC)
    assert wanted("/remind tz=Europe/Berlin tomorrow 9:00 x") == Wish("x", "Europe/Berlin", nine)
    assert wanted("/remind tomorrow 9:00 x", "Europe/Berlin") == Wish("x", "Europe/Berlin", nine)
    late = wanted("/remind tomorrow 9:00 x", "Asia/Tokyo")
    assert late.next_at == datetime(2026, 11, 30, 0, tzinfo=UTC), "there it is Sunday already"


def test_a_job_has_an_expression_and_a_text() -> None:
    first = datetime(2026, 11, 30, 7, tzinfo=UTC)
    assert wanted('/every tz=Europe/Berlin "0 8 * * 1-5" summarise the "news"') == Wish(
        'summarise the "news"', "Europe/Berlin", first, "0 8 * * 1-5", "once"
    )
    skips = wanted("/every missed=skip tz=UTC “0  8 * * 1-5” sum up")
    assert (skips.cron, skips.missed, skips.text) == ("0 8 * * 1-5", "skip", "sum up")
    assert wanted('/every "0 8 * * *" /multi Go\n- builder: x').text == "/multi Go\n- builder: x"


def test_the_others_are_short() -> None:
    assert parse(" /reminders ", now=NOW, time_zone="UTC") == Listing()
    assert parse("/forget 12", now=NOW, time_zone="UTC") == Forget(12)


@pytest.mark.parametrize("text", ["/reminder x", "remind me", "what is /remind?", "", "/multi x", "/everything"])
def test_everything_else_is_for_a_model(text: str) -> None:
    assert parse(text, now=NOW, time_zone="UTC") is None
    assert not is_command(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/remind", "Say when and what: `/remind in 10 minutes call Ada`"),
        ("/remind in 10 minutes", "Say when and what"),
        ("/remind in ten minutes x", "Say when and what"),
        ("/remind me in 10 minutes x", "Say when and what"),
        ("/remind in 0.5 hours x", "Say when and what"),
        ("/remind in \uff15 hours x", "Say when and what"),
        ("/remind 2026-12-01 x", "Say when and what"),
        ("/remind today 9:00 x", "Sat 2026-11-28 09:00 (UTC) is past; write a later time: `/remind tomorrow 9:00 x`"),
        ("/remind 2026-02-30 9:00 x", "There is no day 2026-02-30; write it like `2026-12-01`"),
        ("/remind tomorrow 24:00 x", "There is no time 24:00; write it like `9:00`"),
        ("/remind in 9999999 weeks x", "ten years away at most"),
        ("/remind 9999-12-01 9:00 x", "ten years away at most"),
        ("/remind tz=Berlin in 1 hour x", "There is no time zone 'Berlin'; write it like Europe/Berlin"),
        ("/remind zone=UTC in 1 hour x", "/remind has no option `zone=`; it has `tz=`"),
        ("/remind tz=Europe/Berlin 2027-03-28 2:30 x", "Clocks go forward over 02:30"),
        ("/every", "Say how often, in quotes, and what: `/every"),
        ("/every 0 8 * * * news", "Say how often, in quotes"),
        ('/every "0 8 * * *"', "Say how often, in quotes"),
        ('/every "0 8 * *" news', "needs five fields"),
        ('/every "0 25 * * *" news', "no cron expression (bad hour)"),
        ('/every "* * */20 * 1L" news', "never comes"),
        ('/every missed=never "0 8 * * *" news', "one late run (`missed=once`) or none (`missed=skip`)"),
        ('/every every=1 "0 8 * * *" news', "/every has no option `every=`; it has `tz=` and `missed=`"),
        ('/every "0 8 * * *" /remind in 1 minute x', "it cannot begin with /remind, /every, /reminders, /forget"),
        ('/every "0 8 * * *" /multi Go', "needs sub-agents"),
        ('/every "0 8 * * *" /multi?', "needs a goal"),
        ("/reminders all", "`/reminders` stands alone"),
        ("/forget", "`/forget 3`; `/reminders` lists them"),
        ("/forget Ada", "`/forget 3`"),
        ("/forget \uff13", "`/forget 3`"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text, now=NOW, time_zone="UTC")
    assert why in refused.value.detail
