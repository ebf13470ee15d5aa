"""Commands about memories: what they want, and how they are answered."""

from datetime import UTC, datetime

import pytest

from agent_image.runner.commands.grammar import parse
from agent_image.runner.commands.memory_grammar import Correct, Erase, EraseAll, Memories, Remember
from agent_image.runner.commands.names import is_command
from agent_image.runner.memory import words
from agent_image.runner.memory.api import which
from agent_image.runner.memory.memories import guessed
from appliance.core.errors import BadInput
from appliance.core.memory.items import Origin
from tests.unit.test_memory_quoting import memory

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def wanted(text: str) -> object:
    return parse(text, now=NOW, time_zone="UTC")


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("/remember I prefer tea ", Remember("I prefer tea")),
        ("/remember\nI prefer\ntea", Remember("I prefer\ntea")),
        ("/memories", Memories()),
        ("/memories what I drink", Memories("what I drink")),
        ("/erase 3", Erase(3)),
        ("/erase all", EraseAll()),
        ("/erase All yes", EraseAll(sure=True)),
        ("/correct 3 I prefer coffee", Correct(3, "I prefer coffee")),
        ("/correct 3\nI prefer coffee", Correct(3, "I prefer coffee")),
    ],
)
def test_a_command_is_understood(text: str, wants: object) -> None:
    assert is_command(text)
    assert wanted(text) == wants


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/remember", "for example `/remember I prefer short answers`"),
        ("/remember …", "for example `/remember I prefer short answers`"),
        (f"/remember {'x' * 2001}", "split it"),
        ("/erase", "`/erase 3`"),
        ("/erase three", "`/erase 3`"),
        ("/erase 3 yes", "`/erase 3`"),
        ("/erase ٣", "`/erase 3`"),
        ("/erase all no", "`/erase all`"),
        ("/correct 3", "`/correct 3 I prefer tea`"),
        ("/correct I prefer tea", "`/correct 3 I prefer tea`"),
        ("/correct 1 \x07", "no text"),
    ],
)
def test_what_cannot_be_is_refused_with_an_example(text: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        wanted(text)
    assert why in refused.value.detail


def test_the_answer_to_remember_names_the_number_and_does_not_repeat_the_text() -> None:
    answer = words.kept(memory("my secret", 7), new=True)
    assert answer.startswith("Remembered as memory 7 (fact).")
    assert "`/erase 7`" in answer
    assert "secret" not in answer
    assert words.kept(memory("my secret", 7), new=False).startswith("That is memory 7 already.")


def test_a_list_names_numbers_texts_and_sources_with_a_link_to_the_message() -> None:
    said = memory("I *prefer* tea", 7, origin=Origin("message", "c1", "m1", 4), sources=2)
    typed = memory("Ada", 8, origin=Origin("page"), pinned=True)
    assert words.listed([said, typed]) == (
        "- **7** I \\*prefer\\* tea (fact; [from a conversation, 2026-11-03](/c/c1#n4), said 2 times)\n"
        "- **8** Ada (fact, pinned; from a page, 2026-11-03)"
    )


def test_a_list_that_is_cut_says_how_to_find_the_rest() -> None:
    assert words.listed([memory(no=no) for no in range(words.LISTED)]).endswith("`/memories WORDS` finds others.")


def test_an_empty_list_says_how_to_begin() -> None:
    assert "`/remember I prefer short answers`" in words.listed([])
    assert "fits “tea”" in words.listed([], "tea")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("I prefer tea", "preference"), ("Ich trinke lieber Tee", "preference"), ("I want to run a marathon", "goal"),
     ("Wilma, Oslo, 1994", "fact")],
)  # fmt: skip
def test_the_type_of_a_text_is_guessed_by_the_rules_that_read_messages(text: str, kind: str) -> None:
    assert guessed(text) == kind


@pytest.mark.parametrize(("said", "meant"), [("7", 7), ("1234567890", "1234567890"), ("a-b", "a-b"), ("٣", "٣")])
def test_a_memory_is_named_by_number_or_id(said: str, meant: str | int) -> None:
    assert which(said) == meant
