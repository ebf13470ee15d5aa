"""Making and dropping indexes of memories: by keepers only, as a hash of Redis wishes.

FT.CREATE takes any PREFIX and FT.DROPINDEX … DD deletes all keys under it, whatever the rules of the caller say of keys
[tried, RediSearch 2.10.5]. A runner with these rights could read and delete everything in Redis. So runners say which
indexes there should be, and keepers, which run no user's code, make those, each over its own documents alone.
"""

from typing import Any

from appliance.core.errors import NoIndex
from appliance.core.memory.schema import MAX_DIMENSIONS, IndexName, definition
from appliance.core.redis import Redis, answering

_GONE = ("no such index", "unknown index name")


class IndexUpkeep:
    """Makes the indexes of memories what `memory_wanted` says; safe from several keepers at once."""

    def __init__(self, redis: Redis) -> None:
        self._data: Any = redis.data
        self._keys = redis.keys

    async def once(self) -> list[str]:
        """Make what is missing, drop what is not wanted; return what was done, in words.

        Raises:
            StoreAway: Redis does not answer.
        """
        async with answering("FT._LIST"):
            wishes = await self._data.hgetall(self._keys.memory_wanted)
            listed = await self._data.execute_command("FT._LIST")
        ours = self._keys.memory_index("")
        there = {name.removeprefix(ours) for name in map(str, listed) if name.startswith(ours)}
        wanted = {name: dims for name, dims in wishes.items() if _makes_sense(name, dims)}
        made = [await self._make(name, int(dims)) for name, dims in wanted.items() if name not in there]
        return made + [await self._drop(name) for name in sorted(there - wanted.keys())]

    async def _make(self, name: str, dims: int) -> str:
        async with answering("FT.CREATE"):
            await _unless(self._data, "already exists", "FT.CREATE", *definition(self._keys.memory_index(name), dims))
        return f"made {name}"

    async def _drop(self, name: str) -> str:
        # Documents stay: deleting a hundred thousand at once would stop Redis for longer than a lease.
        async with answering("FT.DROPINDEX"):
            await _unless(self._data, _GONE[1], "FT.DROPINDEX", self._keys.memory_index(name))
        return f"dropped {name}"


def _makes_sense(name: str, dims: str) -> bool:
    """Whether a wish is for an index of ours; 0 dimensions wish it away. What else stands there is no wish."""
    read = IndexName.read(name)
    return read is not None and dims == str(read.dims) and read.dims <= MAX_DIMENSIONS


async def _unless(client: Any, meanwhile: str, *command: str | int) -> None:
    """Carry out a command; another keeper may have done it meanwhile."""
    try:
        await client.execute_command(*command)
    except Exception as error:
        if meanwhile not in str(error).lower():
            raise


def no_index(error: Exception) -> NoIndex | None:
    """Return our error for Redis' word that there is no such index; None for any other word."""
    return NoIndex() if any(sign in str(error).lower() for sign in _GONE) else None
