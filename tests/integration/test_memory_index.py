"""The index of memories follows the rows whatever happens to it (DESIGN 10): the rows are the truth."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from agent_image.runner.memory import indexing as indexing_module
from agent_image.runner.memory.indexing import LOOK_S
from agent_image.runner.memory.memories import MemoryService
from agent_image.runner.memory.remembering import Remembering
from appliance.core.errors import BadInput, NoIndex
from appliance.core.memory.deduplication import Radii
from appliance.core.memory.items import Closing
from appliance.core.memory.schema import IndexName
from appliance.core.memory.upkeep import IndexUpkeep
from control_plane.measured import Measured
from tests.cluster import Cluster
from tests.indexes import SAYINGS, Library, Meaning
from tests.locks import waits_for_a_lock
from tests.waiting import wait_until


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


async def test_what_is_erased_leaves_redis_at_once_whoever_leads(library: Library) -> None:
    memory, _ = await library.say(*SAYINGS[:2])
    await library.settle()
    follower = library.keeps(library.meaning, leads=False)
    remembering = Remembering(library.people.store, library.meaning, Radii(0.1, 0.2))
    service = MemoryService(library.people.store, remembering, library.search, follower)

    await service.erase(library.people.ada, memory.no)

    assert await fields_of(library, memory.id) == {}
    assert await service.erase_all(library.people.ada) == 1
    assert await library.documents() == 0


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


async def test_a_vector_that_comes_while_its_memory_is_erased_is_no_failure(library: Library) -> None:
    espresso, dog = await library.say(*SAYINGS[:2])
    async with library.people.transaction() as connection:
        await connection.execute("delete from memories where id = %s", [espresso.id])
        vectors = [(it.id, library.meaning.vector(it.text)) for it in (espresso, dog)]
        putting = asyncio.create_task(library.rows.put_vectors("meaning", vectors))
        await wait_until(lambda: waits_for_a_lock(library.people.config), of="a wait for the row")
    await putting
    assert [id_ for id_, _ in await library.rows.unembedded("meaning", 9)] == []
    assert len(await library.people.sql("select 1 from memory_vectors")) == 1


async def test_no_index_is_made_before_anybody_knows_the_dimensions(library: Library) -> None:
    library.meaning.away = True
    await library.say("I drink espresso")
    assert await library.indexing.once() == LOOK_S
    assert await library.upkeep.once() == []
    found = await library.search.search(library.people.ada, "espresso")
    assert ([it.memory.text for it in found.hits], "PostgreSQL" in found.note) == (["I drink espresso"], True)


async def test_a_vector_of_other_dimensions_is_refused_instead_of_never_found(library: Library) -> None:
    await library.settle()
    [memory] = await library.say("x")
    with pytest.raises(BadInput, match="vectors of 8 dimensions; this one has 12"):
        await library.index.put(library.name(), [(memory, Meaning(dims=12).vector("x"))])


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

    async def wished_and_listed() -> bool:
        await data.hset(wanted, "probe-4", "4")  # again and again: a primary wishes away what is not its model's
        return await listed()

    async def not_listed() -> bool:
        return not await listed()

    await wait_until(wished_and_listed, of="an index that was wished")
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
        row = await library.postgres.row("sweeps_due", epoch=0, promote_after_s=600)
        return bool(row and row["memories"])

    async def done() -> bool:
        await library.upkeep.once()
        return not await due()

    async def in_force() -> bool:
        with suppress(NoIndex):
            return await done() and await library.documents() == 2
        return False

    memory, _ = await library.say(*SAYINGS[:2])
    assert await due()
    keeping = asyncio.create_task(library.indexing.run())
    await wait_until(in_force, of="an index")
    await library.people.store.erase(library.people.ada, memory.id, by="ada")
    assert await due()
    await library.indexing.nudge(1)
    await wait_until(done, of="an erasure that is indexed")
    keeping.cancel()
    await asyncio.wait({keeping})
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
