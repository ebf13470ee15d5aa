"""What is done with a person's memories: one function each, shared by commands, tools, pages and the JSON API."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from agent_image.runner.memory.extraction import extract
from agent_image.runner.memory.remembering import Remembering
from appliance.core.errors import Conflict, NotFound
from appliance.core.memory.items import (
    Item,
    Kind,
    Memory,
    Origin,
    Source,
    Trust,
    checked_text,
    normalised,
)  # fmt: skip
from appliance.core.memory.search import Found
from appliance.core.memory.store import MemoryStore
from appliance.core.records import User

FOUND = 10
EXPORTED = 500
"""Rows read at a time."""


class Search(Protocol):
    """Finds a person's memories (`appliance.core.memory.search`)."""

    async def search(self, user: User, query: str, *, limit: int, types: Sequence[Kind]) -> Found:
        """Return those that fit a text, the best first, and what was away."""


class Documents(Protocol):
    """Lets the index follow at once (`agent_image.runner.memory.indexing`); the primary makes up for failures."""

    async def write(self, ids: Iterable[str]) -> None:
        """Bring it up to memories that were changed."""

    async def erase(self, ids: Sequence[str]) -> None:
        """Remove memories that were erased."""


class MemoryService:
    """Everything bears repeating with the same words."""

    def __init__(self, store: MemoryStore, remembering: Remembering, search: Search, documents: Documents) -> None:
        self.store = store
        self._remembering = remembering
        self._search = search
        self._documents = documents

    async def origin(self, task: str, source: Source, agent: str) -> Origin:
        """Return where the message of a turn stands; for a task without one only the source and the agent."""
        return await self.store.origin(task, source, agent)

    async def among(self, user: User, ids: Sequence[str]) -> dict[str, Memory]:
        """Return those of some ids that were not erased, also those that hold no more, by id."""
        return {it.id: it for it in await self.store.among(user, ids)} if ids else {}

    async def remember(
        self, user: User, text: str, origin: Origin, *, type_: Kind | None = None, trust: Trust = "user",
        topics: Sequence[str] = (),
    ) -> tuple[Memory, bool]:  # fmt: skip
        """Keep a text; return its memory, and whether it was not known before.

        Raises:
            BadInput: it is none that can be kept. Conflict: its person erased it, and `origin` is not that person.
        """
        text = checked_text(text)
        item = Item(text=text, origin=origin, type=type_ or guessed(text), trust=trust, topics=tuple(topics))
        settled = await self._remembering.keep_one(user, item)
        if settled.id is None:
            raise Conflict(f"It is not remembered. {settled.why}")
        await self._documents.write([settled.id])
        return await self.store.get(user, settled.id), settled.what == "kept"

    async def find(
        self, user: User, query: str, *, limit: int = FOUND, types: Sequence[Kind] = ()
    ) -> tuple[list[Memory], str]:
        """Return what fits a query, the best first, and in words what the search had to do without."""
        hits, note = await self.search(user, query, limit=limit, types=types)
        return [it.memory for it in hits], note

    async def search(self, user: User, query: str, *, limit: int = FOUND, types: Sequence[Kind] = ()) -> Found:
        """Return what fits a query with its distances."""
        return await self._search.search(user, query, limit=limit, types=types)

    async def correct(self, user: User, which: str | int, text: str, origin: Origin) -> Memory:
        """Replace what one says, and return what says it now; what was corrected so before is returned as it is.

        Raises:
            BadInput: the text cannot be kept. NotFound: there is no such memory of this person, or it holds no more.
        """
        text = checked_text(text)
        memory = await self.store.get(user, which)
        if not memory.living:
            return await self._corrected_before(user, memory, text)
        vector, model = await self._remembering.vector_of(text)
        corrected = await self.store.correct(user, memory, text, origin, vector=vector, model=model)
        await self._documents.write([memory.id, corrected.id])
        return corrected

    async def _corrected_before(self, user: User, memory: Memory, text: str) -> Memory:
        heir = next((it for it in await self.store.chain(user, memory.id) if it.living), None)
        if heir is None:
            raise NotFound(f"Memory {memory.no} holds no longer; `/memories` lists those that do.")
        if normalised(heir.text) != normalised(text):
            raise NotFound(f"Memory {memory.no} holds no longer: memory {heir.no} took its place; correct that one.")
        return heir

    async def pin(self, user: User, which: str | int, pinned: bool) -> Memory:
        """Pin one, or no longer. NotFound."""
        memory = await self.store.pin(user, (await self.store.get(user, which)).id, pinned)
        await self._documents.write([memory.id])
        return memory

    async def erase(self, user: User, which: str | int) -> None:
        """Erase one with its whole chain, for good. NotFound: there is none, any more."""
        memory = await self.store.get(user, which)
        await self._forget(await self.store.erase(user, memory.id, by=user.id))

    async def erase_all(self, user: User) -> int:
        """Erase everything that is remembered of a person; return how much it was."""
        erased = await self.store.erase(user, None, by=user.id)
        await self._forget(erased)
        return len(erased)

    async def _forget(self, erased: Mapping[str, str]) -> None:
        """Take what was made of erased rows out of Redis: their documents, and the vectors of their texts."""
        await self._documents.erase(list(erased))
        await self._remembering.forget(list(erased.values()))

    async def export(self, user: User) -> list[Memory]:
        """Return all of them, also those that hold no more, the oldest first."""
        found = page = await self.store.listing(user, living=False, limit=EXPORTED)
        while page:
            page = await self.store.listing(user, living=False, limit=EXPORTED, before=page[-1].no)
            found += page
        return found[::-1]


def guessed(text: str) -> Kind:
    """Return the type of a text whose person names none, by the rules that read messages; a fact when none fits."""
    return next((it.type for it in extract(text)), "fact")
