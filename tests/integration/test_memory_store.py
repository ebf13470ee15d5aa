"""Rows of memories on a real PostgreSQL: kept once, never merged away, erased for good."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.core.memory.indexed import IndexedRows
from appliance.core.memory.items import MAX_TEXT, Closing, Item, Keeping, Origin, checked_text, fingerprint, lowest
from appliance.core.memory.store import Promoted
from appliance.core.postgres import Postgres
from appliance.core.settings import Settings
from tests.memories import MODEL, TYPED, Rememberer, at
from tests.stores import Stores


@pytest.fixture
async def people(config: Settings, postgres: Postgres) -> Rememberer:
    return await Rememberer(config, postgres).open()


@pytest.fixture
async def rows(people: Rememberer) -> AsyncIterator[IndexedRows]:
    yield IndexedRows(people.postgres)


def said(text: str, angle: float = 0.0, **more: Any) -> Keeping:
    origin = more.pop("origin", TYPED)
    return Keeping(item=Item(text=text, origin=origin), vector=at(angle), model=MODEL, **more)


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
    assert await store.living_among(bob, [kept.id]) == set()
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


async def test_what_is_erased_is_gone_with_its_chain_and_its_vectors(people: Rememberer) -> None:
    old = await people.keep("I live in Rome")
    new = await people.keep("I live in Oslo", 5, Closing(old.id, "contradicted"))
    other = await people.keep("I prefer tea", 90)

    texts = await people.store.erase(people.ada, new.id, by="ada")

    assert sorted(texts) == ["I live in Oslo", "I live in Rome"]
    assert [it.id for it in await people.store.listing(people.ada, living=False)] == [other.id]
    left = await people.sql("select memory_id from memory_vectors where memory_id = any(%s)", [old.id, new.id])
    assert left == []


async def test_what_is_erased_does_not_come_back_by_itself(people: Rememberer) -> None:
    conversation, messages = await people.talk("My pin is 1234", "My pin is 1234.", "what I said before")
    first, second, third = (Origin("message", conversation, it, no) for no, it in enumerate(messages, 1))
    kept = await people.keep("My pin is 1234", origin=first)
    await people.store.erase(people.ada, kept.id, by="ada")

    again = await people.settle(
        said("my PIN is 1234", origin=second), said("in other words", origin=first), said("else", origin=third)
    )

    assert [(it.what, it.why) for it in again.settled] == [
        ("refused", "It was erased."), ("refused", "It was erased."), ("kept", ""),
    ]  # fmt: skip


async def test_who_wants_an_erased_text_back_types_it_again(people: Rememberer) -> None:
    conversation, [message] = await people.talk("I prefer tea")
    kept = await people.keep("I prefer tea")
    await people.store.erase(people.ada, kept.id, by="ada")

    assert (await people.keep("I prefer tea")).living

    again = await people.settle(said("I prefer tea", origin=Origin("message", conversation, message, 1)))
    assert [it.what for it in again.settled] == ["same"]


async def test_a_tombstone_tells_nobody_the_text(people: Rememberer) -> None:
    for user in (people.ada, people.bob):
        kept = await people.keep("My pin is 1234", user=user)
        await people.store.erase(user, kept.id, by=user.name)

    one, other = await people.sql(
        "select * from memory_tombstones where user_id = any(%s)", [people.ada.id, people.bob.id]
    )
    assert one["digest"] != other["digest"]
    assert fingerprint("My pin is 1234") not in (one["digest"], other["digest"])
    audited = await people.sql("select detail::text from audit_log where subject = %s", people.ada.id)
    assert audited == [{"detail": '{"memories": 1}'}]


async def test_erasing_all_leaves_the_others_alone(people: Rememberer) -> None:
    for no in range(5):
        await people.keep(f"fact {no}", no * 40)
    theirs = await people.keep("bob's", user=people.bob)

    assert len(await people.store.erase(people.ada, None, by="ada")) == 5
    assert await people.store.erase(people.ada, None, by="ada") == []

    assert await people.store.listing(people.ada, living=False) == []
    assert (await people.store.get(people.bob, theirs.id)).living


async def test_a_range_of_turns_is_promoted_once(people: Rememberer) -> None:
    conversation, messages = await people.talk("I prefer tea", "I live in Oslo")
    origin = Origin("message", conversation, messages[0], 1)
    stamp = Promoted(conversation, 1, 2, "rules")

    first = await people.settle(said("I prefer tea", origin=origin), promotion=stamp)
    second = await people.settle(said("I prefer coffee", origin=origin), promotion=stamp)

    assert [it.what for it in first.settled] == ["kept"]
    assert second.before == "These turns were read already."
    assert [it.text for it in await people.store.listing(people.ada)] == ["I prefer tea"]
    assert await people.sql("select kept from promotions where conversation_id = %s", conversation) == [{"kept": 1}]


async def test_of_two_who_promote_the_same_turns_at_once_one_does(people: Rememberer) -> None:
    conversation, _ = await people.talk("I prefer tea")
    stamp = Promoted(conversation, 1, 1, "rules")

    async def promote(no: int) -> bool:
        while True:
            seen = await people.store.seen(people.ada)
            if kept := await people.store.keep(people.ada, seen, [said(f"fact {no}")], promotion=stamp):
                return not kept.before

    assert sorted(await asyncio.gather(*map(promote, range(6)))) == [False] * 5 + [True]
    assert len(await people.store.listing(people.ada)) == 1


async def test_a_turn_that_ends_while_others_are_read_is_read_next_time(people: Rememberer) -> None:
    conversation, _ = await people.talk("one")
    await people.turn(people.ada, conversation, 2, "two")

    await people.settle(promotion=Promoted(conversation, 1, 1, "rules"))
    assert await idle(people, conversation) == 2

    await people.settle(promotion=Promoted(conversation, 2, 2, "rules"))
    assert await idle(people, conversation) is None


async def idle(people: Rememberer, conversation: str) -> int | None:
    """Return the first turn that is to be read."""
    found = await people.postgres.rows("idle_conversations", delay_s=0, limit=1000)
    return next((row["from_turn"] for row in found if str(row["id"]) == conversation), None)


async def test_a_conversation_rests_before_it_is_due_and_a_deleted_one_never_is(people: Rememberer) -> None:
    conversation, _ = await people.talk("one")
    resting = {str(row["id"]) for row in await people.postgres.rows("idle_conversations", delay_s=60, limit=1000)}
    assert conversation not in resting
    assert await idle(people, conversation) == 1

    await people.sql("update conversations set deleted_at = now() where id = %s", conversation)

    assert await idle(people, conversation) is None
    deleted = await people.settle(said("too late"), promotion=Promoted(conversation, 1, 1, "rules"))
    assert deleted.before == "The conversation was deleted."
    assert await people.store.listing(people.ada) == []


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


async def test_the_index_learns_of_each_change_and_of_a_new_life_of_redis(
    people: Rememberer, rows: IndexedRows
) -> None:
    mine = {(await people.keep("I prefer tea", 30)).id}

    async def missing(current: str) -> list[Any]:
        return [it for it in await rows.unindexed(current, MODEL, 10_000) if it.memory.id in mine]

    [found] = await missing("life-1/angles")
    assert found.vector == at(30)
    await rows.mark("life-1/angles", [found.memory])
    assert await missing("life-1/angles") == []
    assert len(await missing("life-2/angles")) == 1

    await people.store.pin(people.ada, found.memory.id, True)
    await rows.mark("life-1/angles", [found.memory])  # as it was before
    assert [it.memory.pinned for it in await missing("life-1/angles")] == [True]


async def test_what_was_erased_is_to_be_removed_from_the_index_until_it_is(
    people: Rememberer, rows: IndexedRows
) -> None:
    kept = await people.keep("I prefer tea")
    await people.store.erase(people.ada, kept.id, by="ada")

    assert kept.id in await rows.unremoved("life-1/angles", 10_000)
    await rows.mark_removed("life-1/angles", [kept.id])
    assert kept.id not in await rows.unremoved("life-1/angles", 10_000)
    assert kept.id in await rows.unremoved("life-2/angles", 10_000)


async def test_a_memory_without_a_vector_gets_one_and_is_indexed_anew(people: Rememberer, rows: IndexedRows) -> None:
    await people.settle(Keeping(item=Item(text="while the embedder was away", origin=TYPED)))
    [kept] = await people.store.listing(people.ada)
    assert (kept.id, kept.text) in await rows.unembedded("new-model", 10_000)
    await rows.mark("life-1/new-model", [kept])

    await rows.put_vectors("new-model", [(kept.id, at(10))])

    assert (kept.id, kept.text) not in await rows.unembedded("new-model", 10_000)
    [found] = [it for it in await rows.unindexed("life-1/new-model", "new-model", 10_000) if it.memory.id == kept.id]
    assert found.vector == at(10)
    await rows.put_vectors("another", [(kept.id, at(20))])
    assert await rows.drop_vectors(other_than="new-model", limit=10_000) >= 1
    assert [it.memory.id for it in await people.store.near(people.ada, at(10), "new-model")] == [kept.id]
    assert await people.store.near(people.ada, at(20), "another") == []


@pytest.mark.parametrize("text", ["", "  \n", "...", "\x00", "a\x07b", "x" * (MAX_TEXT + 1), "y" * 1_000_000, "\ud800"])
def test_what_is_no_text_of_a_memory_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadInput, match=r"[.:]"):
        checked_text(text)


def test_the_trust_of_what_was_made_from_several_is_the_lowest() -> None:
    assert lowest(("user", "tool", "agent")) == "tool"
    assert lowest(("user", "agent")) == "agent"
    assert lowest(("user",)) == "user"


async def test_memories_of_all_people_are_counted(people: Rememberer, stores: Stores) -> None:
    before = await people.store.count()
    old = await people.keep("one")
    await people.keep("two", 40, Closing(old.id, "refined"))

    after = await people.store.count()

    assert (after.living - before.living, after.kept - before.kept, after.erased - before.erased) == (1, 2, 0)
