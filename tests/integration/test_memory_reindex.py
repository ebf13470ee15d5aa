"""The index is lost, replaced by that of another model, or rebuilt, and every search is answered meanwhile."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest

from agent_image.runner.memory import indexing as indexing_module
from appliance.cli import memory as command
from appliance.core.errors import CannotStart, NoIndex
from appliance.core.memory import search as searching
from appliance.core.memory.schema import IndexName
from appliance.core.postgres import Postgres
from appliance.embedded.places import Home
from tests.indexes import SAYINGS, Library, Meaning
from tests.integration.test_cli_orders import Here
from tests.memories import Rememberer
from tests.stores import Stores
from tests.waiting import wait_until


async def test_an_index_dropped_under_load_comes_back_and_every_search_is_answered(library: Library) -> None:
    await library.say(*SAYINGS)
    await library.settle()
    answers: list[list[str]] = []

    async def ask_on(seen: Callable[[], bool]) -> None:
        while not seen():
            answers.append(await library.found("coffee espresso"))

    over = False
    asking = asyncio.create_task(ask_on(lambda: over))
    await wait_until(lambda: _true(len(answers) > 3), of="searches")
    await library.lose_index()
    before = len(answers)
    await wait_until(lambda: _true(len(answers) > before + 3), of="searches without an index")
    await library.settle()
    over = True
    await asking
    assert all(it[0] == "I drink espresso" for it in answers)
    assert await library.documents() == len(SAYINGS)


async def _true(it: bool) -> bool:
    return it


async def test_after_flushall_a_search_finds_what_it_found_before(library: Library) -> None:
    await library.say(*SAYINGS)
    await library.settle()
    before = [await library.found(it) for it in ("coffee", "puppy", "where do I live: berlin")]
    await library.admin.data.delete(*[it async for it in library.admin.data.scan_iter(f"{library.prefix}*", 1000)])
    await library.lose_index()
    await library.begin()
    await library.settle()
    assert [await library.found(it) for it in ("coffee", "puppy", "where do I live: berlin")] == before


async def test_another_model_takes_over_while_searches_go_on(library: Library) -> None:
    for no in range(80):
        await library.say(f"{SAYINGS[no % 4]} and number {no}")
    await library.settle()
    newer = Meaning("newer", 12)
    searches = library.searches(newer, {"meaning": library.meaning})
    seen, over = list[tuple[str, int]](), False

    async def ask_on() -> None:
        for no in count():
            said = await searches.search(library.people.ada, ("coffee", "puppy")[no % 2], limit=20)
            assert {"espresso" in it.memory.text for it in said.hits} == {no % 2 == 0}, said
            seen.append((said.note, len(said.hits)))
            if over:
                return

    async def some_were_asked() -> None:
        until = len(seen) + 2
        await wait_until(lambda: _true(asking.done() or len(seen) >= until), of="searches")

    asking = asyncio.create_task(ask_on())
    await library.settle(library.keeps(newer), some_were_asked)
    searched_by_newer = newer.asked
    await some_were_asked()
    over = True
    await asking
    assert newer.asked > searched_by_newer
    assert set(seen) == {("", 20)}
    assert await library.index.searched() == IndexName("newer", 12)
    assert list(await library.index.wanted()) == [IndexName("newer", 12)]
    with pytest.raises(NoIndex):
        await library.index.standing(library.name())
    old = library.redis.keys.memory_index("meaning-8:*")
    assert [it async for it in library.admin.data.scan_iter(old, 1000)] == []
    assert [it["model"] for it in await library.people.sql("select distinct model from memory_vectors")] == ["newer"]


async def test_a_new_model_that_is_away_leaves_the_old_index_in_force(library: Library) -> None:
    await library.say(*SAYINGS)
    await library.settle()
    newer = Meaning("newer", 12)
    newer.answers = 1  # it says how many dimensions it has, and no more
    taking_over = library.keeps(newer)
    for _ in range(5):
        await taking_over.once()
        await library.upkeep.once()
    assert await library.index.searched() == library.name()
    assert await library.found("coffee", limit=1) == ["I drink espresso"]
    # What is said meanwhile is found, by its words, in the index that is searched.
    await library.say("I drink tea")
    await taking_over.once()
    assert await library.found("tea", limit=1) == ["I drink tea"]


async def test_a_model_that_answers_other_dimensions_gets_another_index(library: Library) -> None:
    await library.say(*SAYINGS)
    await library.settle()
    library.meaning.dims = 12
    said = await library.search.search(library.people.ada, "espresso")
    assert "12 dimensions for meaning, the index holds 8" in said.note
    assert [it.memory.text for it in said.hits] == ["I drink espresso"]
    await library.say("My puppy is called Max")
    await library.settle()
    await library.settle()
    assert await library.index.searched() == library.name(dims=12)
    assert set(await library.found("dog", limit=2)) == {"My puppy is called Max", "My dog is called Rex"}


async def test_a_rebuild_is_another_index_beside_the_one_that_is_searched(library: Library) -> None:
    memory, _ = await library.say(*SAYINGS[:2])
    await library.settle()
    await library.admin.data.hset(library.redis.keys.memory_index("meaning-8:stranger"), "text", "not in any row")
    await library.admin.data.delete(library.redis.keys.memory_index(f"meaning-8:{memory.id}"))
    await library.index.rebuild(0)
    await library.index.rebuild(0)
    await library.settle()
    assert await library.index.searched() == library.name(build=1)
    assert await library.documents() == 2
    assert await library.found("coffee", limit=1) == [memory.text]


async def test_nexus_memory_rebuild_waits_for_the_primary_and_is_audited(library: Library, tmp_path: Path) -> None:
    await library.say(*SAYINGS)
    await library.settle()
    place = Here(library.settings("operator"), Home.at(tmp_path / "home").create())
    with pytest.raises(CannotStart, match=r"after 0\.1 s it is not done"):
        await command._rebuilt(place, 0.1)
    await library.settle()
    over = asyncio.Event()
    leading = asyncio.create_task(library.lead(over))
    assert await command._rebuilt(place, 30.0) == len(SAYINGS)
    over.set()
    await leading
    assert await library.index.searched() == library.name(build=2)
    audited = await library.people.sql("select actor, action from audit_log order by id desc limit 2")
    assert {(it["actor"], it["action"]) for it in audited} == {("admin", "rebuild memories")}


async def test_an_index_that_is_not_what_the_rows_say_is_rebuilt_by_itself(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing_module, "DRIFT_S", 0.0)
    memory, _ = await library.say(*SAYINGS[:2])
    await library.settle()
    # A Redis that was killed comes back without its last second.
    await library.admin.data.delete(library.redis.keys.memory_index(f"meaning-8:{memory.id}"))
    for _ in range(3):
        await library.settle()
    assert await library.index.searched() == library.name(build=1)
    assert await library.documents() == 2


@pytest.fixture
async def alone() -> AsyncIterator[tuple[Library, Stores]]:
    """A library with stores that nobody else uses."""
    own = Stores()
    try:
        await own.start()
        config = await own.with_own_database()
        postgres = Postgres(config, application="test")
        await postgres.open()
        opened = await Library(own, config, postgres, await Rememberer(config, postgres).open()).open()
        yield opened, own
        await opened.aclose()
        await postgres.aclose()
    finally:
        await asyncio.to_thread(own.close)


async def test_a_redis_that_was_killed_has_its_index_again(alone: tuple[Library, Stores]) -> None:
    library, own = alone
    await library.say(*SAYINGS)
    await library.settle()
    own.signal("redis", signal.SIGKILL)
    await own.start_one("redis")
    if not await library.admin.data.exists(library.redis.keys.generation):
        await library.begin()  # it came back with nothing; a keeper begins a new life

    async def mended() -> bool:
        await library.settle()
        return await library.documents() == len(SAYINGS)

    await wait_until(mended, of="an index with all documents")
    assert await library.found("coffee", limit=1) == ["I drink espresso"]


async def test_who_still_knows_the_old_index_asks_again_within_the_same_search(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "KNOWN_S", 600.0)
    await library.say(*SAYINGS)
    await library.settle()
    newer = Meaning("newer", 12)
    searches = library.searches(newer, {"meaning": library.meaning})
    await searches.search(library.people.ada, "coffee")
    await library.settle(library.keeps(newer))
    found = await searches.search(library.people.ada, "coffee", limit=1)
    assert ([it.memory.text for it in found.hits], found.note) == (["I drink espresso"], "")
