"""Lists of tasks that keep themselves up to date: one reading each, shared by everybody who looks at the same."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from appliance.core.errors import StoreAway
from appliance.core.task_lists import Filter, TaskLists, TaskPage, TaskSeen
from control_plane.live import Live

EVERY_S = 1.0
Reading = TypeVar("Reading", TaskPage, TaskSeen)


class Remembered(Generic[Reading]):
    """A reading that PostgreSQL gives; while it is away, the last one, which then says so."""

    def __init__(self, read: Callable[[], Awaitable[Reading]]) -> None:
        self._read: Callable[[], Awaitable[Reading]] = read
        self._last: Reading | None = None

    async def __call__(self) -> Reading:
        """Read it. StoreAway: PostgreSQL is away and nothing was read before."""
        try:
            self._last = await self._read()
        except StoreAway:
            if self._last is None:
                raise
            return msgspec.structs.replace(self._last, away=("PostgreSQL",))
        return self._last


class LiveTasks:
    """Hands out the readings that somebody watches; one that nobody watches any more is forgotten."""

    def __init__(self, lists: TaskLists) -> None:
        self._lists = lists
        self._watched: WeakValueDictionary[Hashable, Live[Any]] = WeakValueDictionary()

    def page(self, only: Filter, after: str) -> Live[TaskPage]:
        """Return the reading of a list."""
        return self._of((only, after), lambda: self._lists.page(only, after))

    def one(self, task: UUID) -> Live[TaskSeen]:
        """Return the reading of one task."""
        return self._of(task, lambda: self._lists.one(task))

    def _of(self, key: Hashable, read: Callable[[], Awaitable[Any]]) -> Live[Any]:
        live = self._watched.get(key)
        if live is None:
            live = self._watched[key] = Live(Remembered(read), EVERY_S)
        return live

    async def aclose(self) -> None:
        """Stop reading."""
        for live in list(self._watched.values()):
            await live.aclose()
