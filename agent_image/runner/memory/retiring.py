"""What becomes of an index that was replaced: a keeper drops it, its documents and its model's vectors go in pieces."""

from collections.abc import Mapping
from contextlib import suppress

from appliance.core import logs
from appliance.core.errors import NoIndex
from appliance.core.memory.index import TAKEN_AT_ONCE, MemoryIndex
from appliance.core.memory.indexed import IndexedRows
from appliance.core.memory.schema import IndexName

log = logs.get("memory")
_FIRST = "00000000-0000-0000-0000-000000000000"


class Retiring:
    """Goes on wherever it, or another primary, was interrupted: the wish stays until all is gone."""

    def __init__(self, index: MemoryIndex, rows: IndexedRows) -> None:
        self._index = index
        self._rows = rows

    async def retire(self, wanted: Mapping[IndexName, bool], target: IndexName) -> bool:
        """Let all indexes but the target go; False: a keeper has not dropped one yet."""
        done = True
        for name in (name for name in wanted if name != target):
            if wanted[name]:
                await self._index.want(name, wanted=False)
            done = await self._gone(name, target) and done
        return done

    async def _gone(self, name: IndexName, target: IndexName) -> bool:
        with suppress(NoIndex):
            await self._index.standing(name)
            return False
        after = _FIRST
        while ids := await self._rows.known_ids(after, TAKEN_AT_ONCE):
            await self._index.remove([name], ids, for_good=False)
            after = ids[-1]
        while await self._rows.drop_vectors(other_than=target.model, limit=TAKEN_AT_ONCE):
            pass
        await self._index.forget(name)
        log.info("memory_index_retired", index=str(name), by=str(target))
        return True
