"""The one way in, on a real PostgreSQL with a fake embedder: known again, closed, refused, kept at the same moment."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from agent_image.runner.memory.remembering import BATCH, MOST_ITEMS, Remembering
from appliance.core.embeddings import HttpEmbedder
from appliance.core.errors import BadInput, TooLarge
from appliance.core.memory.deduplication import Radii, Verdict
from appliance.core.memory.items import MAX_TEXT, Item, Origin, Trust
from appliance.core.memory.store import Promoted
from tests.fakes.embedder import FakeEmbedder
from tests.integration.conftest import MakeEmbedder
from tests.memories import Rememberer

ANYWHERE = Radii(same=1.0, wide=2.0)
"""The fake's vectors are of words, so its distances say nothing of meaning: rules are to decide."""


def item(text: str, *, trust: Trust = "user", at: datetime | None = None, origin: Origin | None = None) -> Item:
    return Item(text=text, origin=origin or Origin("tool"), trust=trust, valid_from=at)


@pytest.fixture
def embed(make: MakeEmbedder) -> HttpEmbedder:
    return make()


@pytest.fixture
def memories(people: Rememberer, embed: HttpEmbedder) -> Remembering:
    return Remembering(people.store, embed, ANYWHERE)


async def living(people: Rememberer) -> list[str]:
    return sorted(it.text for it in await people.store.listing(people.ada))


async def test_what_is_said_again_in_other_words_adds_a_source(people: Rememberer, memories: Remembering) -> None:
    conversation, said = await people.talk("My dog is called Bruno.", "My dog's name is Bruno.")
    first, again = [
        await memories.keep_one(people.ada, item(text, origin=Origin("message", conversation, message, no)))
        for no, text, message in zip((1, 2), ("My dog is called Bruno.", "My dog's name is Bruno."), said, strict=True)
    ]

    assert (first.what, again.what, again.id) == ("kept", "same", first.id)
    assert (await people.store.get(people.ada, first.id or "")).sources == 2
    assert "same words" in again.why


async def test_the_newer_fact_closes_the_older_one_and_names_why(people: Rememberer, memories: Remembering) -> None:
    rome = await memories.keep_one(people.ada, item("I live in Rome."))

    oslo = await memories.keep_one(people.ada, item("I moved to Oslo."))

    assert await living(people) == ["I moved to Oslo."]
    before = await people.store.get(people.ada, rome.id or "")
    assert (before.living, before.superseded_by, before.superseded_how) == (False, oslo.id, "contradicted")


async def test_a_preference_changed_twice_leaves_the_last_one(people: Rememberer, memories: Remembering) -> None:
    for text in ("I prefer tea.", "I prefer coffee.", "I prefer tea again."):
        await memories.keep_one(people.ada, item(text))

    assert await living(people) == ["I prefer tea again."]


async def test_items_of_one_batch_know_each_other(people: Rememberer, memories: Remembering) -> None:
    texts = (
        "I live in Rome.",
        "My cat is called Mia.",
        "I moved to Oslo.",
        "I moved to Oslo!",
        "I live in Lisbon now.",
    )

    settled = await memories.remember(people.ada, [item(text) for text in texts])

    assert [it.what for it in settled] == ["kept", "kept", "kept", "same", "kept"]
    assert await living(people) == ["I live in Lisbon now.", "My cat is called Mia."]


async def test_what_was_said_before_what_is_known_does_not_replace_it(
    people: Rememberer, memories: Remembering
) -> None:
    """A conversation of yesterday is read after today's word."""
    await memories.keep_one(people.ada, item("I live in Oslo."))

    late = await memories.keep_one(people.ada, item("I live in Rome.", at=datetime.now(UTC) - timedelta(days=1)))

    assert (late.what, late.why) == ("refused", "Said later: I live in Oslo.")
    assert await living(people) == ["I live in Oslo."]


async def test_a_page_does_not_overrule_its_reader(people: Rememberer, memories: Remembering) -> None:
    await memories.keep_one(people.ada, item("I live in Oslo."))

    await memories.keep_one(people.ada, item("I live in Rome.", trust="tool"))

    assert await living(people) == ["I live in Oslo.", "I live in Rome."]


async def test_a_persons_own_word_replaces_the_same_from_a_page(people: Rememberer, memories: Remembering) -> None:
    await memories.keep_one(people.ada, item("I live in Oslo.", trust="tool"))

    own = await memories.keep_one(people.ada, item("I live in Oslo."))

    assert own.what == "kept"
    assert [it.trust for it in await people.store.listing(people.ada)] == ["user"]


async def test_near_misses_stay_apart(people: Rememberer, memories: Remembering) -> None:
    texts = ["My brother's birthday is 3 May.", "My sister's birthday is 3 May.", "Server A has 16 GB.",
             "Server B has 16 GB."]  # fmt: skip

    await memories.remember(people.ada, [item(text) for text in texts])

    assert await living(people) == texts


async def test_one_item_from_twenty_agents_at_the_same_moment_is_one_memory(
    people: Rememberer, embed: HttpEmbedder
) -> None:
    conversation, messages = await people.talk(*["I like olives."] * 20)
    said = [Origin("message", conversation, message, no) for no, message in enumerate(messages, 1)]

    agents = [Remembering(people.store, embed, ANYWHERE) for _ in said]
    settled = await asyncio.gather(
        *(agent.keep_one(people.ada, item("I like olives.", origin=it)) for agent, it in zip(agents, said, strict=True))
    )

    assert sorted(it.what for it in settled) == ["kept"] + ["same"] * 19
    [memory] = await people.store.listing(people.ada)
    assert memory.sources == 20


async def test_opposites_at_the_same_moment_leave_one(people: Rememberer, memories: Remembering) -> None:
    await asyncio.gather(
        *(memories.keep_one(people.ada, item(text)) for text in ("I like olives.", "I hate olives."))
    )  # fmt: skip

    assert len(await living(people)) == 1


@pytest.mark.parametrize("text", ["", " \n ", "a\x00b", "x" * (MAX_TEXT + 1), "word " * 200_000])
async def test_a_text_that_is_none_is_refused_in_a_sentence(
    people: Rememberer, memories: Remembering, text: str
) -> None:
    with pytest.raises(BadInput, match=r"[.`]$"):
        await memories.keep_one(people.ada, item(text))
    assert await living(people) == []


async def test_of_many_only_the_unfit_are_refused(people: Rememberer, memories: Remembering) -> None:
    settled = await memories.remember(people.ada, [item("I like olives."), item(""), item("I have a dog.")])

    assert [it.what for it in settled] == ["kept", "refused", "kept"]
    assert "nothing to remember" in settled[1].why


async def test_many_items_come_in_batches(people: Rememberer, memories: Remembering) -> None:
    texts = [f"Ticket {no} is assigned to team{no}." for no in range(BATCH + 10)]

    settled = await memories.remember(people.ada, [item(text) for text in texts])

    assert [it.what for it in settled] == ["kept"] * len(texts)
    assert await people.store.seen(people.ada) == 2


async def test_more_than_anybody_says_at_once_is_refused(people: Rememberer, memories: Remembering) -> None:
    with pytest.raises(TooLarge, match="10,001 items"):
        await memories.remember(people.ada, [item("I like olives.")] * (MOST_ITEMS + 1))


async def test_what_was_erased_does_not_come_back_nor_stops_its_neighbours(
    people: Rememberer, memories: Remembering
) -> None:
    kept = await memories.keep_one(people.ada, item("I live in Rome."))
    await people.store.erase(people.ada, kept.id, by="test")

    settled = await memories.remember(people.ada, [item("I live in Rome."), item("I moved to Oslo.")])

    assert [(it.what, it.why) for it in settled] == [("refused", "It was erased."), ("kept", "")]
    assert await living(people) == ["I moved to Oslo."]


async def test_other_people_are_not_compared_with(people: Rememberer, memories: Remembering) -> None:
    await memories.keep_one(people.ada, item("I live in Rome."))

    settled = await memories.keep_one(people.bob, item("I live in Rome."))

    assert settled.what == "kept"


async def test_a_range_that_was_read_already_keeps_nothing(people: Rememberer, memories: Remembering) -> None:
    conversation, _ = await people.talk("I like olives.")
    stamp = Promoted(conversation, 1, 1, "rules")
    await memories.keep(people.ada, [item("I like olives.")], stamp)

    again = await memories.keep(people.ada, [item("I have a dog.")], stamp)

    assert again.before == "These turns were read already."
    assert await living(people) == ["I like olives."]


class Scripted:
    """A judge that says one thing."""

    def __init__(self, says: tuple[Verdict, ...] | None) -> None:
        self.says = says
        self.asked: list[tuple[str, Sequence[str]]] = []

    async def judge(self, new: str, known: Sequence[str]) -> tuple[Verdict, ...] | None:
        self.asked.append((new, known))
        return self.says


async def test_a_judge_is_asked_about_what_is_near_and_is_heard(people: Rememberer, embed: HttpEmbedder) -> None:
    judge = Scripted((Verdict("same", "both commute by bike"),))
    memories = Remembering(people.store, embed, ANYWHERE, judge)
    first = await memories.keep_one(people.ada, item("I commute by bike."))

    again = await memories.keep_one(people.ada, item("I cycle to work."))

    assert judge.asked == [("I cycle to work.", ["I commute by bike."])]
    assert (again.what, again.id) == ("same", first.id)


async def test_a_judge_without_an_answer_leaves_it_to_the_rules(people: Rememberer, embed: HttpEmbedder) -> None:
    memories = Remembering(people.store, embed, ANYWHERE, Scripted(None))
    await memories.keep_one(people.ada, item("I like olives."))

    await memories.keep_one(people.ada, item("I hate olives."))

    assert await living(people) == ["I hate olives."]


async def test_the_same_text_needs_no_judge(people: Rememberer, embed: HttpEmbedder) -> None:
    judge = Scripted(None)
    memories = Remembering(people.store, embed, ANYWHERE, judge)
    await memories.keep_one(people.ada, item("I like olives."))

    await memories.keep_one(people.ada, item("I like olives!"))

    assert judge.asked == []


async def test_erased_texts_leave_the_cache(people: Rememberer, embedder: FakeEmbedder, make: MakeEmbedder) -> None:
    embed = make()
    memories = Remembering(people.store, embed, ANYWHERE)
    await memories.vector_of("I like olives.")

    await memories.forget(["I like olives."])
    await memories.vector_of("I like olives.")

    assert embedder.texts == ["passage: I like olives."] * 2


async def test_a_text_that_is_refused_or_was_read_already_leaves_the_cache(
    people: Rememberer, memories: Remembering, embedder: FakeEmbedder
) -> None:
    conversation, [message] = await people.talk("I live in Rome. I have a dog.")
    items = [item(text, origin=Origin("message", conversation, message, 1)) for text in ("I live in Rome.", "I paint.")]
    kept = await memories.keep_one(people.ada, items[0])
    await people.store.erase(people.ada, kept.id, by="test")
    await memories.forget(["I live in Rome."])
    stamp = Promoted(conversation, 1, 1, "rules")

    assert [it.what for it in (await memories.keep(people.ada, items, stamp)).settled] == ["refused", "refused"]
    for _ in range(2):
        assert (await memories.keep(people.ada, items, stamp)).before

    assert embedder.texts.count("passage: I live in Rome.") == embedder.texts.count("passage: I paint.") + 1 == 4
