"""The index of memories follows the rows whatever happens to it (DESIGN 10): the rows are the truth."""

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from agent_image.runner.memory import indexing as indexing_module
from agent_image.runner.memory.indexing import LOOK_S
from appliance.cli import memory as command
from appliance.core.errors import BadInput, CannotStart, NoIndex
from appliance.core.memory.items import Closing
from appliance.core.memory.schema import IndexName
from appliance.core.memory.upkeep import IndexUpkeep
from appliance.embedded.places import Home
from control_plane.measured import Measured
from tests.cluster import Cluster
from tests.indexes import Library, Meaning
from tests.integration.test_cli_orders import Here
from tests.waiting import wait_until

SAYINGS = ("I drink espresso", "My dog is called Rex", "I live in Berlin", "I write python")


async def fields_of(library: Library, memory: str, name: IndexName | None = None) -> dict[Any, Any]:
    key = f"{library.redis.keys.memory_index(str(name or library.name()))}:{memory}"
    found: dict[Any, Any] = {
        field: await library.admin.data.hget(key, field) for field in ("text", "version", "user_id", "topics")
    }
    return found if await library.admin.data.exists(key) else {}


async def test_two_agents_and_two_keepers_make_one_index(library: Library) -> None:
    memories = await library.say(*SAYINGS)
    other = library.keeps(Meaning())
    for _ in range(20):
        await asyncio.gather(library.indexing.once(), other.once(), library.upkeep.once(), library.upkeep.once())
    await library.settle()
    assert await library.index.searched() == library.name()
    assert await library.documents() == len(memories)
    assert list(await library.index.wanted()) == [library.name()]
    assert not await library.rows.unindexed(f"{(await library.index.life())[0]} {library.name()}", "meaning", 9)


async def test_an_older_version_never_wins(library: Library) -> None:
    [memory] = await library.say("I drink espresso")
    await library.settle()
    pinned = await library.people.store.pin(library.people.ada, memory.id, True)
    vector = library.meaning.vector(memory.text)
    [row] = await library.rows.of("meaning", [memory.id])
    assert await library.index.put(library.name(), [row]) == [pinned]
    assert await library.index.put(library.name(), [(memory, vector)]) == []
    assert (await fields_of(library, memory.id))["version"] == str(pinned.version)


async def test_a_writer_without_a_vector_does_not_take_it_away(library: Library) -> None:
    [memory] = await library.say("I drink espresso")
    await library.settle()
    assert await library.index.put(library.name(), [(memory, None)]) == []
    assert await library.found("coffee", limit=1) == [memory.text]


async def test_a_writer_that_slept_brings_nothing_erased_back(library: Library) -> None:
    memory, _ = await library.say(*SAYINGS[:2])
    await library.settle()
    await library.people.store.erase(library.people.ada, memory.id, by="ada")
    await library.indexing.erase([memory.id])
    assert await library.index.put(library.name(), [(memory, library.meaning.vector(memory.text))]) == []
    assert await library.documents() == 1


async def test_the_primary_removes_what_its_eraser_could_not(library: Library) -> None:
    memory, _ = await library.say(*SAYINGS[:2])
    await library.settle()
    await library.people.store.erase(library.people.ada, memory.id, by="ada")
    assert await library.documents() == 2
    await library.settle()
    assert await library.documents() == 1
    assert await fields_of(library, memory.id) == {}


async def test_what_was_closed_leaves_the_index_and_what_replaced_it_is_there(library: Library) -> None:
    [old] = await library.say("I live in Berlin")
    await library.settle()
    [new] = await library.say("I live in Hamburg")
    await library.people.keep("I live in Bremen", 0.0, Closing(old.id, "contradicted"))
    await library.indexing.write([old.id, new.id])
    assert await fields_of(library, old.id) == {}
    assert (await fields_of(library, new.id))["text"] == "I live in Hamburg"


async def test_who_writes_indexes_at_once_and_leaves_missing_vectors_to_the_primary(library: Library) -> None:
    await library.settle()
    follower = library.keeps(Meaning(), leads=False)
    [memory] = await library.say("I drink espresso")
    await follower.write([memory.id])
    assert await library.found("espresso") == [memory.text]
    assert await library.found("coffee") == []
    await library.settle()
    assert await library.found("coffee", limit=1) == [memory.text]


async def test_memories_wait_for_their_vectors_while_the_embedder_is_away(library: Library) -> None:
    await library.settle()
    library.meaning.away = True
    memories = await library.say(*SAYINGS)
    await library.settle()
    assert await library.documents() == len(memories)
    assert await library.rows.unembedded("meaning", 9)
    library.meaning.away = False
    await library.settle()
    assert not await library.rows.unembedded("meaning", 9)
    assert await library.found("puppy", limit=1) == ["My dog is called Rex"]


async def test_no_index_is_made_before_anybody_knows_the_dimensions(library: Library) -> None:
    library.meaning.away = True
    await library.say("I drink espresso")
    assert await library.indexing.once() == LOOK_S
    assert await library.upkeep.once() == []
    found = await library.search.search(library.people.ada, "espresso")
    assert ([it.memory.text for it in found.hits], "PostgreSQL" in found.note) == (["I drink espresso"], True)


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


async def test_a_vector_of_other_dimensions_is_refused_instead_of_never_found(library: Library) -> None:
    await library.settle()
    [memory] = await library.say("x")
    with pytest.raises(BadInput, match="vectors of 8 dimensions; this one has 12"):
        await library.index.put(library.name(), [(memory, Meaning(dims=12).vector("x"))])


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
    leading = asyncio.create_task(library.lead())
    assert await command._rebuilt(place, 30.0) == len(SAYINGS)
    leading.cancel()
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


async def test_a_runner_makes_and_drops_no_index_and_a_wish_makes_ours_only(library: Library) -> None:
    data: Any = library.redis.data
    wide = library.redis.keys.memory_index("wide-8")
    with pytest.raises(NoPermissionError):
        await data.execute_command("FT.CREATE", wide, "PREFIX", 1, library.prefix, "SCHEMA", "holder", "TEXT")
    with pytest.raises(NoPermissionError):
        await data.execute_command("FT.DROPINDEX", wide, "DD")
    for name, dims in (("gone", "8"), ("x-8", "9"), ("x-8", "-1"), ("x-9999", "9999"), ("x:y-8", "8")):
        await data.delete(library.redis.keys.memory_wanted)
        await data.hset(library.redis.keys.memory_wanted, name, dims)
        assert await library.upkeep.once() == []
    await data.delete(library.redis.keys.memory_wanted)
    await library.upkeep.once()


async def test_a_keeper_makes_what_is_wished_and_drops_what_is_wished_away(cluster: Cluster) -> None:
    data: Any = cluster.redis.data
    wanted, name = cluster.redis.keys.memory_wanted, cluster.redis.keys.memory_index("probe-4")

    async def listed() -> bool:
        return name in await data.execute_command("FT._LIST")

    async def not_listed() -> bool:
        return not await listed()

    await data.hset(wanted, "probe-4", "4")
    await wait_until(listed, of="an index that was wished")
    await data.hset(wanted, "probe-4", "0")
    await wait_until(not_listed, of="an index that was wished away")
    await data.hdel(wanted, "probe-4")


async def test_nobody_but_runners_and_keepers_reaches_memories(library: Library) -> None:
    [memory] = await library.say("I drink espresso")
    await library.settle()
    alias = library.redis.keys.memory_alias
    for user in ("control", "gateway", "metrics", "operator"):
        stranger: Any = library.as_user(user)
        for words in (
            ("FT.SEARCH", alias, "*"), ("HGET", library.redis.keys.memory_index(f"meaning-8:{memory.id}"), "text"),
            ("FT.INFO", library.redis.keys.memory_index("meaning-8")), ("DEL", library.redis.keys.memory_wanted),
        ):  # fmt: skip
            with pytest.raises(NoPermissionError):
                await stranger.data.execute_command(*words)
        await stranger.aclose()
    control: Any = library.as_user("control")
    assert int((await control.data.ft(alias).info())["num_docs"]) == 1
    await control.aclose()
    assert await IndexUpkeep(library.keeper).once() == []


async def test_a_wrong_search_is_an_error_of_ours_and_no_missing_index(library: Library) -> None:
    await library.settle()
    with pytest.raises(ResponseError, match="does not match"):
        await library.index.find(library.name(), library.whose(), words=[], vector=b"\0" * 16, limit=3)
    with pytest.raises(ValueError, match="no filter"):
        await library.index.find(library.name(), library.whose()._replace(tenant=""), words=["x"], vector=None, limit=3)


async def test_a_change_nobody_indexed_is_told_to_the_primary_and_indexed_without_waiting(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing_module, "LOOK_S", 600.0)

    async def due() -> bool:
        row = await library.postgres.row("sweeps_due", epoch=0)
        return bool(row and row["memories"])

    async def done() -> bool:
        await library.upkeep.once()
        return not await due()

    memory, _ = await library.say(*SAYINGS[:2])
    assert await due()
    keeping = asyncio.create_task(library.indexing.run())
    await wait_until(done, of="an index")
    await library.people.store.erase(library.people.ada, memory.id, by="ada")
    assert await due()
    await library.indexing.nudge(1)
    await wait_until(done, of="an erasure that is indexed")
    keeping.cancel()
    assert await library.documents() == 1


async def test_what_the_index_lacks_is_measured(library: Library) -> None:
    async def told() -> list[float]:
        text = (await measured.text()).decode()
        names = ("nexus_memory_items", "nexus_memory_unindexed", "nexus_memory_index_drift")
        said = dict(line.rsplit(" ", 1) for line in text.splitlines())
        return [float(said[name]) for name in names]

    control = library.as_user("control")
    measured = Measured(control, library.postgres, library.settings("control"))
    memory, _ = await library.say(*SAYINGS[:2])
    assert await told() == [2, 2, 2]
    await library.settle()
    assert await told() == [2, 0, 0]
    await library.admin.data.delete(library.redis.keys.memory_index(f"meaning-8:{memory.id}"))
    assert await told() == [2, 0, 1]
    await control.aclose()
