"""The streams that tell of tasks, on a real Redis, as the user that runners sign in as (PROTOCOLS 7.4, 7.5)."""

from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle
from uuid import uuid4

import pytest

from appliance.core.errors import NoGeneration
from appliance.core.records import PRIORITIES
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from appliance.core.task_stream import IDLE_MS, Entry, TaskStream
from tests.stores import Stores
from tests.waiting import wait_until


class Streams:
    """Two agents' views of the streams."""

    def __init__(self, redis: Redis, admin: Redis, generation: str) -> None:
        self.redis = redis
        self.admin = admin
        self.generation = generation
        self.stream = TaskStream(redis)

    async def tell(self, *tasks: str, priority: str = "normal", needs: str = "") -> int:
        place = f"{priority}:{needs}" if needs else priority
        return await self.stream.enqueue(self.generation, [(task, place) for task in tasks])

    async def read_with(self, *capabilities: str, count: int = 10, by: str = "able") -> list[str]:
        return [entry.task for entry in await TaskStream(self.redis, capabilities).fetch(by, count)]

    async def read(self, count: int = 10, *, by: str = "one", left_behind: bool = False) -> list[str]:
        return [entry.task for entry in await self.stream.fetch(by, count, left_behind=left_behind)]


@pytest.fixture
async def streams(stores: Stores) -> AsyncIterator[Streams]:
    prefix = f"tstream{uuid4().hex[:6]}:"
    admin = Redis(stores.settings(redis_key_prefix=prefix))
    redis = Redis(stores.settings("runner", redis_key_prefix=prefix))
    generation = new_generation()
    await Registry(admin).initialise(generation, 1)
    yield Streams(redis, admin, generation)
    await admin.aclose()
    await redis.aclose()


async def test_a_row_has_one_entry_however_often_it_is_told_of(streams: Streams) -> None:
    assert await streams.tell("a", "b") == 2
    assert await streams.tell("b", "c") == 1
    assert await streams.read() == ["a", "b", "c"]
    assert await streams.read(by="two") == [], "each entry is read by one"


async def test_what_was_dropped_may_be_told_of_again(streams: Streams) -> None:
    await streams.tell("a")
    entries = await streams.stream.fetch("one", 10)
    await streams.stream.drop(entries)
    assert await streams.tell("a") == 1
    await streams.stream.drop(entries)
    assert await streams.tell("a") == 0, "the new entry's mark is not that of the old one"
    assert await streams.read() == ["a"]


async def test_a_mark_without_its_entry_does_not_hide_a_row(streams: Streams) -> None:
    """A Redis that came back with older data may know the one and not the other."""
    await streams.redis.data.hset(streams.redis.keys.tasks_queued, "a", "1-1")
    assert await streams.tell("a") == 1


async def test_an_entry_that_was_read_does_not_hide_a_row_that_came_back(streams: Streams) -> None:
    """Its reader died after the claim and before the drop: the row is told anew, at once and to whoever is free."""
    await streams.tell("a", "b")
    read = await streams.stream.fetch("one", 1)
    assert await streams.tell("a", "b") == 1, "b waits to be read"
    assert await streams.read(by="two") == ["b", "a"]
    await streams.stream.drop(read)
    assert set(await streams.admin.data.hkeys(streams.redis.keys.tasks_queued)) == {"a", "b"}, "the new mark stays"


async def test_rows_stamped_for_another_generation_are_refused(streams: Streams) -> None:
    with pytest.raises(NoGeneration):
        await streams.stream.enqueue("another", [("a", "normal")])
    assert await streams.read() == []


async def test_what_was_read_and_not_dropped_comes_again_to_somebody_else(streams: Streams) -> None:
    """Its reply was lost, or PostgreSQL was away, or the reader died."""
    await streams.tell("a")
    assert await streams.read() == ["a"]

    async def found() -> list[str]:
        return await streams.read(by="two", left_behind=True)

    assert await streams.read(by="two", left_behind=True) == [], f"not within {IDLE_MS} ms"
    assert await wait_until(found, of="the entry") == ["a"]


@pytest.mark.parametrize("batches", [(1,), (1, 17, 4, 9)])
async def test_under_load_the_classes_share_six_to_three_to_one(streams: Streams, batches: tuple[int, ...]) -> None:
    """Entries do, however many are read at a time."""
    for priority in PRIORITIES:
        await streams.tell(*(f"{priority}-{n}" for n in range(700)), priority=priority)
    shares: Counter[str] = Counter()
    for count in cycle(batches):
        shares.update(task.partition("-")[0] for task in await streams.read(count))
        if shares.total() >= 500:
            break
    most = 3 * max(batches)
    assert abs(shares["high"] - shares.total() * 0.6) <= most, shares
    assert abs(shares["normal"] - shares.total() * 0.3) <= most, shares
    assert shares["low"] >= shares.total() * 0.08, "at least 8 in a hundred (I15)"


async def test_a_class_gets_nothing_back_for_the_time_it_was_empty(streams: Streams) -> None:
    await streams.tell(*(f"high-{n}" for n in range(400)))
    for _ in range(300):
        await streams.read(1)
    await streams.tell(*(f"low-{n}" for n in range(100)), priority="low")
    read = [task for _ in range(40) for task in await streams.read(1)]
    assert sum(task.startswith("low") for task in read) <= 40 / 4 + 1, "a quarter beside normal, from now on"


async def test_a_class_that_has_nothing_gives_its_turn_away(streams: Streams) -> None:
    await streams.tell("a", priority="low")
    assert await streams.read() == ["a"]


async def test_a_stream_whose_head_is_old_counts_one_class_up(streams: Streams) -> None:
    for priority, at in (("high", ""), ("low", "1-")):
        for n in range(1, 301):
            await streams.redis.data.xadd(
                streams.redis.keys.tasks(priority), {"t": f"{priority}-{n}"}, id=f"{at}{n}" if at else "*"
            )
    read = [task for _ in range(200) for task in await streams.read(1)]
    shares = Counter(task.partition("-")[0] for task in read)
    assert abs(shares["low"] - 200 * 3 / 9) <= 10, shares


async def readers(streams: Streams) -> set[str]:
    return {it["name"] for it in await streams.redis.data.xinfo_consumers(streams.redis.keys.tasks("normal"), "agents")}


async def test_a_reader_whose_boot_is_gone_is_removed_and_one_that_lives_is_not(streams: Streams) -> None:
    await streams.admin.data.set(streams.redis.keys.boot("one"), "1")
    await streams.tell("a", "b")
    for boot in ("one", "two"):
        await streams.stream.drop(await streams.stream.fetch(boot, 1))
    assert await streams.stream.dismiss() == 1
    assert await readers(streams) == {"one"}
    await streams.tell("c")
    assert await streams.read(by="two") == ["c"], "who only paused reads again"


async def test_a_reader_for_whom_something_is_pending_stays_until_somebody_else_has_it(streams: Streams) -> None:
    await streams.tell("a")
    await streams.read(by="two")
    assert await streams.stream.dismiss() == 0

    async def found() -> list[str]:
        return await streams.read(left_behind=True)

    assert await wait_until(found, of="the entry of the dead") == ["a"]
    assert await streams.stream.dismiss() == 1
    assert await readers(streams) == {"one"}


async def test_an_entry_names_its_class(streams: Streams) -> None:
    await streams.tell("a", priority="low")
    [entry] = await streams.stream.fetch("one", 1)
    assert entry == Entry(3, entry.id, "a")


async def test_directed_work_is_read_only_by_who_has_all_it_needs(streams: Streams) -> None:
    await streams.tell("both", needs="gpu+web")
    await streams.tell("one", needs="gpu")
    assert await streams.read() == []
    assert await streams.read_with("web") == []
    assert await streams.read_with("gpu", "fast") == ["one"]
    assert await streams.read_with("web", "gpu") == ["both"]


async def test_directed_work_takes_part_in_the_order_of_its_class(streams: Streams) -> None:
    """Its priority counts as any other's; inside a class the older head comes first."""
    for number in range(150):
        await streams.tell(f"gpu-{number}", priority="low", needs="gpu")
    for number in range(300):
        await streams.tell(f"high-{number}", priority="high")
    stream = TaskStream(streams.redis, ["gpu"])
    read = [entry.task for _ in range(140) for entry in await stream.fetch("able", 1)]
    assert abs(sum(task.startswith("gpu") for task in read) - 140 / 7) <= 3, "one of seven: six are of high priority"
    await streams.tell("young")
    await streams.tell("younger", needs="gpu")
    left = [entry.task for _ in range(310) for entry in await stream.fetch("able", 1)]
    assert [task for task in left if task.startswith("young")] == ["young", "younger"]


async def test_directed_work_that_was_read_and_left_comes_to_another_who_can(streams: Streams) -> None:
    await streams.tell("a", needs="gpu")
    assert await streams.read_with("gpu", by="one") == ["a"]
    able = TaskStream(streams.redis, ["gpu"])

    async def found() -> list[str]:
        return [entry.task for entry in await able.fetch("two", 10, left_behind=True)]

    assert await wait_until(found, of="the entry") == ["a"]


async def test_directed_work_has_one_entry_until_it_was_dropped(streams: Streams) -> None:
    assert await streams.tell("a", needs="gpu") == 1
    assert await streams.tell("a", needs="gpu") == 0
    stream = TaskStream(streams.redis, ["gpu"])
    await stream.drop(await stream.fetch("able", 10))
    assert await streams.admin.data.hkeys(streams.redis.keys.tasks_queued) == []
    assert await streams.tell("a", needs="gpu") == 1


async def test_a_row_that_is_directed_no_more_leaves_its_old_place(streams: Streams) -> None:
    await streams.tell("a", needs="gpu")
    assert await streams.tell("a") == 1
    assert await streams.read_with("gpu") == ["a"]
    assert await streams.read_with("gpu") == []


async def test_streams_of_needs_are_removed_once_nobody_waits_with_them(streams: Streams) -> None:
    keys, data = streams.redis.keys, streams.admin.data
    await streams.tell("a", needs="gpu")
    await streams.tell("b", needs="web")
    stream = TaskStream(streams.redis, ["gpu"])
    await stream.drop(await stream.fetch("able", 10))
    await stream.dismiss()
    assert await data.smembers(keys.tasks_needs) == {"web"}
    assert await data.exists(keys.tasks("normal:gpu"), keys.tasks("normal:web")) == 1
    await streams.tell("c", needs="gpu")
    assert await streams.read_with("gpu") == ["c"]


async def test_a_reader_learns_whether_it_left_something(streams: Streams) -> None:
    async def left(count: int) -> tuple[list[str], bool]:
        return await streams.read(count), streams.stream.left

    await streams.tell("a", "b", "c")
    await streams.tell("d", priority="low")
    assert await left(2) == (["a", "b"], True), "in its own stream"
    assert await left(9) == (["d"], True), "in another one"
    assert await left(9) == (["c"], True), "d is read, but not dropped, and may be left behind"
    assert await left(9) == ([], False)
