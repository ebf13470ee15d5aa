"""What goes into a summary, and what a prompt leaves out, without stores."""

import pytest

from agent_image.runner.turns.prompt import Window
from agent_image.runner.turns.summaries import asked, clipped, extract, limit_of, share_of
from appliance.core.settings import Settings
from appliance.core.window import MOST, Said, fit, fold, tokens

HUGE = "x" * 100_000


def talk(turns: int, text: str = "Where is Ulm?") -> list[Said]:
    return [said for no in range(1, turns + 1) for said in (Said("user", text, no), Said("assistant", "There.", no))]


@pytest.mark.parametrize(("text", "least"), [("", 1), ("a" * 300, 100), ("ä" * 300, 200), ("水" * 300, 300)])
def test_no_alphabet_is_underrated(text: str, least: int) -> None:
    assert least <= tokens(text) <= least + 5


def test_an_empty_past_fits_whatever_the_budget() -> None:
    assert fit((), "", 1000) == fit((), "", 0) == fit((), "", -5) == ("", ())
    assert fit(talk(2), "Of Ulm.", -5) == ("", ())


def test_what_has_room_goes_whole() -> None:
    past = talk(3)
    assert fit(past, "Of Ulm.", 10_000) == ("Of Ulm.", tuple(past))


def test_messages_are_left_out_from_the_old_end_and_the_first_is_a_users() -> None:
    past = talk(5)
    of_two_turns = 2 * sum(tokens(it.text) for it in past[:2])
    for more in range(tokens(past[-1].text) + 1):  # room for an answer without its question, too
        assert fit(past, "", of_two_turns + more)[1] == tuple(past[-4:])
    assert fit(past, "", of_two_turns - 1)[1] == tuple(past[-2:])


def test_a_summary_takes_its_room_first_and_whole_or_not_at_all() -> None:
    past = talk(5)
    budget = tokens("Of Ulm.") + sum(tokens(it.text) for it in past[:2])
    assert fit(past, "Of Ulm.", budget) == ("Of Ulm.", tuple(past[-2:]))
    assert fit(past, HUGE, budget)[0] == ""


def test_nothing_goes_past_a_message_larger_than_the_window() -> None:
    past = [*talk(2), Said("user", HUGE, 3), Said("assistant", "Long.", 3), *talk(1)]
    assert fit(past, "", 2048)[1] == tuple(talk(1))
    assert fit(past[:-2], "", 2048)[1] == ()


def test_what_was_cut_to_a_larger_budget_before_comes_to_the_same() -> None:
    past = talk(20)
    for budget in range(0, 400, 7):
        assert fit(fit(past, "", 400)[1], "Of Ulm.", budget) == fit(past, "Of Ulm.", budget)


def test_up_to_the_limit_nothing_is_folded_and_above_it_half_of_that_is_left_in_whole_turns() -> None:
    past = talk(10)
    whole = sum(tokens(it.text) for it in past)
    assert fold(past, whole) == fold((), 0) == 0
    upto = fold(past, whole - 1)
    assert upto == 6, "the answer of turn 6 had room as well, but not its question"
    assert sum(tokens(it.text) for it in past if it.turn_no > upto) <= (whole - 1) // 2


def test_many_short_messages_are_folded_as_well_and_one_that_is_too_long_by_itself() -> None:
    assert fold(talk(MOST // 2), 1_000_000) == 0
    assert fold(talk(MOST // 2 + 1), 1_000_000) == MOST // 4 + 2
    assert fold([*talk(1), Said("user", HUGE, 2), Said("assistant", "Long.", 2)], 1000) == 2


def test_first_sentences_of_what_the_user_said_stand_for_it() -> None:
    said = [
        Said("user", "I live in Ulm. It rains."), Said("assistant", "I see. Bring a coat."),
        Said("user", "Version 1.2 of it?\nOr 2?"), Said("user", " \n "), Said("user", "no stop at all"),
    ]  # fmt: skip
    assert extract("", said, 1000) == "- I live in Ulm.\n- Version 1.2 of it?\n- no stop at all"
    assert extract("- Earlier.", said[:1], 1000) == "- Earlier.\n- I live in Ulm."


def test_first_sentences_are_bounded_and_the_oldest_go() -> None:
    earlier = "\n".join(f"- {number}." for number in range(100))
    assert extract(earlier, [Said("user", "Last one.")], 22) == "- 99.\n- Last one."
    long = extract("", [Said("user", HUGE)], 1000)
    assert len(long) < 200
    assert long.endswith("…")
    assert extract("", [Said("user", "水" * 100)], 100) == ""


def test_what_a_model_is_asked_quotes_both_and_is_bounded() -> None:
    system, user = asked("Of Ulm.", [Said("user", HUGE), Said("assistant", "Short.")], 1000)
    assert system.role == "system"
    assert "<summary>\nOf Ulm.\n</summary>" in user.text
    assert "assistant: Short.\n</said>" in user.text
    assert 900 < len(user.text) < 1300


def test_what_is_short_leaves_room_to_the_long() -> None:
    assert share_of([10, 10, 500, 500], 220) == 100
    assert share_of([10, 20], 100) == 20
    assert share_of([], 100) == 0
    assert share_of([10, 10], -5) == 0


def test_a_text_is_cut_between_characters() -> None:
    assert clipped("水水", 4) == "水"
    assert clipped("水水", -1) == ""


def test_what_is_not_in_the_summary_yet_still_has_room_in_a_prompt() -> None:
    large, small = Window(100_000, 1024), Window(2048, 1024)
    assert limit_of(large, 0.5) == 50_000
    assert small.tokens // 4 < limit_of(small, 0.5) < small.room((), "", "x" * 600)


@pytest.mark.parametrize(
    ("models", "window"),
    [
        ({}, 8192),
        ({"model_url": "http://m/v1", "model_name": "bundled/SmolLM2-135M"}, 2048),
        ({"ollama_url": "http://o"}, 4096),
        ({"anthropic_api_key": "k"}, 200_000),
        ({"anthropic_api_key": "k", "ollama_url": "http://o"}, 4096),
        ({"anthropic_api_key": "k", "model_context_tokens": 100_000}, 100_000),
    ],
)
def test_every_model_that_may_be_asked_has_the_window(models: dict[str, str], window: int) -> None:
    assert Settings.model_validate(models).context_tokens() == window
