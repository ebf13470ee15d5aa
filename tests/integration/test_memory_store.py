"""Rows of memories on a real PostgreSQL: kept once, found by their own person only, never merged away."""

import asyncio

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.core.memory.items import MAX_TEXT, Closing, Item, Keeping, Origin, checked_text, fingerprint, lowest
from tests.memories import MODEL, TYPED, Rememberer, at, said


async def test_what_is_kept_is_found_by_number_id_and_text(people: Rememberer) -> None:
    kept = await people.keep("I prefer tea.")

    assert (kept.no, kept.text, kept.type, kept.trust, kept.living) == (1, "I prefer tea.", "fact", "user", True)
    assert await people.store.get(people.ada, 1) == kept
    assert await people.store.get(people.ada, kept.id) == kept
    assert await people.store.of_hash(people.ada, fingerprint("  i PREFER tea")) == kept


async def test_the_same_text_is_one_memory_with_another_source(people: Rememberer) -> None:
    conversation, [first, second] = await people.talk("I prefer tea", "I prefer tea!")
    kept = await people.keep("I prefer tea", origin=Origin("message", conversation, first, 1))

    again = await people.settle(said("I prefer  TEA!", origin=Origin("message", conversation, second, 2)))

    assert [it.what for it in again.settled] == ["same"]
    assert again.settled[0].id == kept.id
    assert [it.message_id for it in await people.store.sources(people.ada, kept.id)] == [first, second]
    assert (await people.store.get(people.ada, kept.id)).sources == 2


async def test_the_same_message_is_no_second_source(people: Rememberer) -> None:
    conversation, [message] = await people.talk("I prefer tea")
    origin = Origin("message", conversation, message, 1)
    await people.keep("I prefer tea", origin=origin)

    kept = await people.keep("I prefer tea", origin=origin)

    assert kept.sources == 1


async def test_of_two_agents_that_decide_at_the_same_moment_one_decides_again(people: Rememberer) -> None:
    seen = await people.store.seen(people.ada)

    first, second = await asyncio.gather(*(
        people.store.keep(people.ada, seen, [said(text)]) for text in ("I prefer tea", "I prefer coffee")
    ))  # fmt: skip

    assert (first is None) != (second is None)
    assert len(await people.store.listing(people.ada)) == 1


async def test_the_same_item_from_twenty_at_once_is_one_memory(people: Rememberer) -> None:
    async def bring() -> None:
        while await people.store.keep(people.ada, await people.store.seen(people.ada), [said("I prefer tea")]) is None:
            pass

    await asyncio.gather(*(bring() for _ in range(20)))

    assert [it.text for it in await people.store.listing(people.ada)] == ["I prefer tea"]


async def test_who_is_superseded_keeps_its_row_and_its_reason(people: Rememberer) -> None:
    old = await people.keep("I live in Rome")

    new = await people.keep("I live in Oslo", 5, Closing(old.id, "contradicted"))

    before, now = await people.store.chain(people.ada, new.id)
    assert (before.text, before.living, before.superseded_by, before.superseded_how) == (
        "I live in Rome", False, new.id, "contradicted",
    )  # fmt: skip
    assert (now.text, now.living) == ("I live in Oslo", True)
    assert await people.store.chain(people.ada, old.id) == [before, now]
    assert [it.text for it in await people.store.listing(people.ada)] == ["I live in Oslo"]
    assert len(await people.store.listing(people.ada, living=False)) == 2


async def test_a_confirmed_memory_gets_a_source_and_closes_what_it_replaces(people: Rememberer) -> None:
    tea, coffee = await people.keep("I prefer tea"), await people.keep("I prefer coffee", 40)

    await people.settle(said("tea is what I prefer", confirms=tea.id, closes=(Closing(coffee.id, "contradicted"),)))

    assert [it.text for it in await people.store.listing(people.ada)] == ["I prefer tea"]
    assert (await people.store.get(people.ada, coffee.id)).superseded_by == tea.id


async def test_neighbours_are_this_persons_living_ones_of_the_same_model(people: Rememberer) -> None:
    near, far = await people.keep("near", 5), await people.keep("far", 90)
    closed = await people.keep("closed", 1)
    await people.keep("what replaced it", 170, Closing(closed.id, "refined"))
    await people.keep("bob's", 0, user=people.bob)
    await people.settle(Keeping(item=Item(text="of another model", origin=TYPED), vector=at(0), model="other"))

    found = await people.store.near(people.ada, at(0), MODEL, 2)

    assert [it.memory.id for it in found] == [near.id, far.id]
    assert found[0].distance == pytest.approx(0.0038, abs=0.0001)


async def test_neighbours_of_other_dimensions_are_none(people: Rememberer) -> None:
    await people.keep("two dimensions")

    assert await people.store.near(people.ada, at(0) + at(0), MODEL) == []


async def test_nobody_sees_corrects_pins_or_erases_anothers(people: Rememberer) -> None:
    kept = await people.keep("I prefer tea")
    store, bob = people.store, people.bob

    assert await store.listing(bob) == await store.chain(bob, kept.id) == []
    assert await store.sources(bob, kept.id) == []
    assert await store.among(bob, [kept.id]) == []
    for refused in (
        store.get(bob, kept.id), store.get(bob, 1), store.pin(bob, kept.id, True), store.erase(bob, kept.id, by="bob"),
        store.correct(bob, kept, "coffee", TYPED, vector=None, model=""),
        people.settle(said("mine", closes=(Closing(kept.id, "refined"),)), user=bob),
        people.settle(said("mine", confirms=kept.id), user=bob),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await refused
    assert await store.get(people.ada, kept.id) == kept


async def test_a_correction_replaces_the_text_and_keeps_the_rest(people: Rememberer) -> None:
    kept = await people.store.pin(people.ada, (await people.keep("I prefer tee")).id, True)

    corrected = await people.store.correct(people.ada, kept, "I prefer tea", TYPED, vector=at(1), model=MODEL)

    assert (corrected.text, corrected.pinned, corrected.type, corrected.no) == ("I prefer tea", True, kept.type, 2)
    assert (await people.store.get(people.ada, kept.id)).superseded_how == "corrected"
    with pytest.raises(NotFound, match="holds no longer"):
        await people.store.correct(people.ada, kept, "again", TYPED, vector=None, model="")


async def test_a_correction_of_spelling_alone_is_one(people: Rememberer) -> None:
    kept = await people.keep("i prefer tea")

    corrected = await people.store.correct(people.ada, kept, "I prefer tea.", TYPED, vector=at(0), model=MODEL)

    assert [it.text for it in await people.store.listing(people.ada)] == [corrected.text] == ["I prefer tea."]


async def test_a_correction_to_what_is_known_already_closes_the_wrong_one(people: Rememberer) -> None:
    known, wrong = await people.keep("I prefer tea"), await people.keep("I prefer mate", 50)

    corrected = await people.store.correct(people.ada, wrong, "I prefer tea", TYPED, vector=at(0), model=MODEL)

    assert corrected.id == known.id
    assert [it.id for it in await people.store.listing(people.ada)] == [known.id]


async def test_pages_of_a_list_are_whole_and_filtered(people: Rememberer) -> None:
    for no in range(7):
        item = Item(text=f"fact {no}", origin=TYPED, type="goal" if no % 2 else "fact", topics=("work",) * (no > 3))
        await people.settle(Keeping(item=item))

    first = await people.store.listing(people.ada, limit=4)
    rest = await people.store.listing(people.ada, limit=4, before=first[-1].no)

    assert [it.no for it in first + rest] == [7, 6, 5, 4, 3, 2, 1]
    assert [it.no for it in await people.store.listing(people.ada, type_="goal")] == [6, 4, 2]
    assert [it.no for it in await people.store.listing(people.ada, topic="work")] == [7, 6, 5]
    assert [it.no for it in await people.store.listing(people.ada, text="FACT 3")] == [4]


@pytest.mark.parametrize("text", ["", "  \n", "...", "\x00", "a\x07b", "x" * (MAX_TEXT + 1), "y" * 1_000_000, "\ud800"])
def test_what_is_no_text_of_a_memory_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match=r"[.:]"):
        checked_text(text)


def test_the_trust_of_what_was_made_from_several_is_the_lowest() -> None:
    assert lowest(("user", "tool", "agent")) == "tool"
    assert lowest(("user", "agent")) == "agent"
    assert lowest(("user",)) == "user"


async def test_a_person_s_memories_are_counted(people: Rememberer) -> None:
    before = await people.store.count(people.ada)
    old = await people.keep("one")
    await people.keep("two", 40, Closing(old.id, "refined"))

    after = await people.store.count(people.ada)

    assert (after.living - before.living, after.kept - before.kept, after.erased - before.erased) == (1, 2, 0)
