"""What happens to rows of memories later: erased for good, promoted once, told to an index."""

import asyncio
from typing import Any

import pytest

from appliance.core.memory.indexed import IndexedRows
from appliance.core.memory.items import Closing, Item, Keeping, Origin, fingerprint
from appliance.core.memory.store import Promoted
from tests.memories import MODEL, TYPED, Rememberer, at, said


@pytest.fixture
async def rows(people: Rememberer) -> IndexedRows:
    return IndexedRows(people.postgres)


async def test_what_is_erased_is_gone_with_its_chain_and_its_vectors(people: Rememberer) -> None:
    old = await people.keep("I live in Rome")
    new = await people.keep("I live in Oslo", 5, Closing(old.id, "contradicted"))
    other = await people.keep("I prefer tea", 90)

    erased = await people.store.erase(people.ada, new.id, by="ada")

    assert erased == {new.id: "I live in Oslo", old.id: "I live in Rome"}
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
    assert await people.store.erase(people.ada, None, by="ada") == {}

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
    found = await people.postgres.rows("idle_conversations", delay_s=0, most=50, limit=1000)
    return next((row["from_turn"] for row in found if str(row["id"]) == conversation), None)


async def test_a_conversation_rests_before_it_is_due_and_a_deleted_one_never_is(people: Rememberer) -> None:
    conversation, _ = await people.talk("one")
    resting = {
        str(row["id"]) for row in await people.postgres.rows("idle_conversations", delay_s=60, most=50, limit=1000)
    }
    assert conversation not in resting
    assert await idle(people, conversation) == 1

    await people.sql("update conversations set deleted_at = now() where id = %s", conversation)

    assert await idle(people, conversation) is None
    deleted = await people.settle(said("too late"), promotion=Promoted(conversation, 1, 1, "rules"))
    assert deleted.before == "The conversation was deleted."
    assert await people.store.listing(people.ada) == []


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
    [pinned] = await missing("life-1/angles")
    assert pinned.memory.pinned

    # A slow writer that may have put the older state over the newer one says so, and it is written again.
    await rows.mark("life-1/angles", [pinned.memory])
    await rows.mark("life-1/angles", [found.memory])
    assert await missing("life-1/angles") == [pinned]


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
