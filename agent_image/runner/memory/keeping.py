"""Keeps single items as they are said: the same text is one memory, in whatever spelling."""

from collections.abc import Awaitable, Callable, Sequence

from agent_image.runner.memory.patience import Patience
from appliance.core import logs
from appliance.core.embeddings import HttpEmbedder
from appliance.core.errors import EmbedderAway, StoreAway
from appliance.core.memory.items import Item, Keeping, Vector
from appliance.core.memory.store import MemoryStore, Settled
from appliance.core.records import User

log = logs.get("memory")
VECTOR_S = 2.0
"""Seconds somebody who has something remembered waits for its vector; the primary makes up for it later."""


class PlainKeeping:
    """The way into the rows; `written` is told of ids that changed."""

    def __init__(
        self, store: MemoryStore, embedder: HttpEmbedder, written: Callable[[Sequence[str]], Awaitable[None]]
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._written = written
        self._patience = Patience()

    async def keep_one(self, user: User, item: Item) -> Settled:
        """Return what became of an item: kept, same, or refused and why. StoreAway."""
        vector, model = await self.vector_of(item.text)
        kept = None
        while kept is None:  # somebody else wrote meanwhile
            seen = await self._store.seen(user)
            kept = await self._store.keep(user, seen, [Keeping(item=item, vector=vector, model=model)])
        settled = kept.settled[0]
        if settled.id is not None:
            await self._written([settled.id])
        return settled

    async def vector_of(self, text: str) -> tuple[Vector | None, str]:
        """Return a text's embedding and its model; None when there is none at the moment."""
        try:
            vectors = await self._patience.within(VECTOR_S, self._embedder.embed([text]), of="a memory's vector")
        except EmbedderAway as error:
            log.info("memory_without_vector", error=str(error))
            vectors = None
        return (vectors[0], self._embedder.model) if vectors else (None, "")

    async def changed(self, *memories: str) -> None:
        """Bring the index up to memories that were changed otherwise."""
        await self._written(memories)

    async def forget(self, texts: Sequence[str]) -> None:
        """Take the embeddings of erased texts out of the cache; while Redis is away they go with their age."""
        try:
            await self._embedder.forget(texts)
        except StoreAway as error:
            log.warning("embeddings_not_forgotten", texts=len(texts), error=str(error))
