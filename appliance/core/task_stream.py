"""Streams that tell agents of waiting tasks (PROTOCOLS 7.2, 7.4, 7.5). The rows are the truth; an entry is a hint.

What Redis loses here, the dispatcher's sweep tells again; what it tells twice, the row's claim refuses.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from appliance.core.errors import NoGeneration
from appliance.core.records import PRIORITIES
from appliance.core.redis import Redis, answering

IDLE_MS = 1000
"""An entry that was read and neither claimed nor dropped within this time is read by somebody else."""
_RANKS: dict[str, str] = {priority: str(rank) for rank, priority in enumerate(PRIORITIES, 1)}


class Entry(NamedTuple):
    """One entry of a stream: a task of this class (1 is the highest priority) waits, or did."""

    rank: int
    id: str
    task: str
    needs: str = ""
    """Of directed work: what its reader has to have, joined by `+`."""

    @property
    def place(self) -> str:
        """Where it stands, as the functions say it."""
        return f"{self.rank}:{self.needs}" if self.needs else str(self.rank)


class TaskStream:
    """Tells of tasks, reads who waits, drops what was read."""

    def __init__(self, redis: Redis, capabilities: Sequence[str] = ()) -> None:
        self._redis = redis
        self.capabilities = capabilities
        """What its reader can: directed work for others is never read."""
        keys = redis.keys
        self._streams = [keys.tasks(priority) for priority in PRIORITIES]
        self._needs, self._queued, self._wake = keys.tasks_needs, keys.tasks_queued, keys.tasks_wake
        self._passed = [0.0] * len(PRIORITIES)
        """What was read of each class divided by its share: whose is least is next (stride scheduling)."""
        self.left = False
        """Whether the last fetch left something unread: in its own stream, or in another one."""

    async def generation(self) -> str:
        """Return the generation of Redis that is in force.

        Raises:
            StoreAway: Redis does not answer. NoGeneration: it is empty.
        """
        async with answering():
            found = await self._redis.data.get(self._redis.keys.generation)
        if not found:
            raise NoGeneration
        return str(found)

    async def enqueue(self, generation: str, tasks: Sequence[tuple[str, str]]) -> int:
        """Tell of (task, place) rows that were stamped with `generation`; return how many had no entry yet.

        Raises:
            StoreAway, NoGeneration: nobody was told; the sweep tells them.
        """
        args: list[str | int | float | bytes] = [self._redis.keys.generation, generation]
        for task, place in tasks:
            args += [_RANKS.get(place) or _directed(place), task]
        keys = [*self._streams, self._queued, self._wake, self._needs]
        return int(await self._redis.call("enqueue", keys, args))

    async def fetch(self, consumer: str, count: int, *, left_behind: bool = False) -> list[Entry]:
        """Read up to `count` entries of one stream; of all that is read the classes get 6 : 3 : 1.

        First those `left_behind` by others, if asked.

        Raises:
            StoreAway: Redis does not answer; entries whose reply was lost come again after IDLE_MS.
        """
        idle_ms = IDLE_MS if left_behind else 0
        args: list[str | int | float | bytes] = [consumer, count, idle_ms, *self._passed, *self.capabilities]
        found = await self._redis.call("fetch", [*self._streams, self._needs], args)
        entries = list(_entries(found[2:]))
        self.left = bool(entries) and (len(entries) >= count or bool(int(found[1])))
        if entries and (share := int(found[0])):
            self._count(entries[0].rank - 1, len(entries) / share)
        return entries

    def _count(self, read: int, passed: float) -> None:
        """Note what was read of a class. One that had nothing gets nothing back for the time it was empty."""
        now = self._passed[read]
        self._passed = [max(now, it) for it in self._passed]
        self._passed[read] += passed

    async def drop(self, entries: Sequence[Entry]) -> None:
        """Forget entries that were claimed, or whose rows are no longer queued; StoreAway when Redis is away."""
        args: list[str | int | float | bytes] = [
            part for entry in entries for part in (entry.place, entry.id, entry.task)
        ]
        await self._redis.call("drop", [*self._streams, self._queued], args)

    async def dismiss(self) -> int:
        """Remove readers whose boot is gone and for whom nothing is pending; return how many. StoreAway as above."""
        return int(await self._redis.call("dismiss", [*self._streams, self._needs], [self._redis.keys.boot("")]))


def _entries(flat: list[Any]) -> Iterator[Entry]:
    for at in range(0, len(flat), 3):
        rank, _, needs = flat[at].partition(":")
        yield Entry(int(rank), flat[at + 1], flat[at + 2], needs)


def _directed(place: str) -> str:
    priority, _, needs = place.partition(":")
    return f"{_RANKS[priority]}:{needs}"
