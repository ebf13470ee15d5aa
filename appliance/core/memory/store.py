"""The rows of memories: kept, found, corrected, erased. All of it is one person's; StoreAway when PostgreSQL is away.

Who writes reads a version first (`seen`), decides on what it finds, and hands the version to `keep`: a decision that
somebody else's write has overtaken changes nothing (compare-and-set; lock order in migration 0012).
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.errors import NotFound
from appliance.core.memory.items import (
    Closing,
    How,
    Item,
    Keeping,
    Kind,
    Memory,
    Near,
    Origin,
    Source,
    fingerprint,
)  # fmt: skip
from appliance.core.postgres import Postgres, Row
from appliance.core.records import User
from appliance.core.vectors import Vector, to_text

PAGE = 50


class Promoted(msgspec.Struct, frozen=True):
    """Which turns were read for memories, by which task, and how."""

    conversation: str
    from_turn: int
    to_turn: int
    how: str
    task: str | None = None


class Settled(msgspec.Struct, frozen=True):
    """What became of one item: kept, same (its source was added to a memory) or refused, and why."""

    what: str
    id: str | None
    why: str


class Kept(msgspec.Struct, frozen=True):
    """What became of the items, in their order. `before`: their turns had been read already; nothing was changed."""

    settled: tuple[Settled, ...]
    before: str = ""


class Count(msgspec.Struct, frozen=True):
    """How many there are: living, of all, and erased ones."""

    living: int
    kept: int
    erased: int


class MemoryStore:
    """The memories of all people, each seen by its own person only."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def seen(self, user: User) -> int:
        """Return the version of a person's memories; a decision is made on it."""
        return int(await self._postgres.value("memory_head", **_whose(user)))

    async def near(self, user: User, vector: Vector, model: str, limit: int = 10) -> list[Near]:
        """Return living memories by their distance from `vector`, the nearest first; exact."""
        rows = await self._postgres.rows(
            "near_memories", **_whose(user), vector=to_text(vector), model=model, limit=limit
        )
        return [Near(memory_of(row), float(row["distance"])) for row in rows]

    async def of_hash(self, user: User, hash_: bytes) -> Memory | None:
        """Return the living memory with this normalised text."""
        row = await self._postgres.row("memory_of_hash", **_whose(user), hash=hash_)
        return memory_of(row) if row else None

    async def keep(
        self, user: User, seen: int, decided: Sequence[Keeping], *, promotion: Promoted | None = None, trace: str = ""
    ) -> Kept | None:
        """Keep what was decided at version `seen`, in one transaction; None: somebody else wrote, decide again.

        Raises:
            NotFound: what is to be closed or confirmed is not this person's.
        """
        rows = await self._postgres.rows(
            "keep_memories", **_whose(user), seen=seen, trace=trace, items=Jsonb([_wanted(it) for it in decided]),
            promotion=Jsonb(_stamp(promotion)) if promotion else None,
        )  # fmt: skip
        match [row["what"] for row in rows]:
            case ["overtaken"]:
                return None
            case ["before"]:
                return Kept((), before=rows[0]["why"])
        return Kept(tuple(Settled(row["what"], _text(row["memory"]), row["why"]) for row in rows))

    async def get(self, user: User, which: str | int) -> Memory:
        """Return one by its id or number; NotFound when there is none, or it is another's."""
        id_, no = (None, which) if isinstance(which, int) else (_uuid(which), None)
        row = await self._postgres.row("memory", **_whose(user), id=id_, no=no)
        if row is None:
            raise NotFound("There is no such memory of yours; `/memories` lists them.")
        return memory_of(row)

    async def listing(
        self, user: User, *, living: bool = True, type_: Kind | None = None, topic: str | None = None, text: str = "",
        before: int | None = None, limit: int = PAGE,
    ) -> list[Memory]:  # fmt: skip
        """Return a page of them, the newest first; all words of `text` are in each. `before`: the last number seen."""
        rows = await self._postgres.rows(
            "memories_of", **_whose(user), living=living, type=type_, topic=topic, words=text.split(), before=before,
            limit=limit,
        )  # fmt: skip
        return [memory_of(row) for row in rows]

    async def among(self, user: User, ids: Iterable[str]) -> list[Memory]:
        """Return those of `ids` that are this person's and were not erased, also those that hold no more."""
        rows = await self._postgres.rows("memories_among", **_whose(user), ids=list(ids))
        return [memory_of(row) for row in rows]

    async def origin(self, task: str, source: Source, agent: str) -> Origin:
        """Return where the message of a turn stands; of a task without one only source and agent are known."""
        row = await self._postgres.row("asked_in", task=task)
        return _origin({**row, "source": source, "agent_id": agent}) if row else Origin(source, agent=agent)

    async def chain(self, user: User, id_: str) -> list[Memory]:
        """Return what a memory grew from and what grew from it, with itself, the oldest first."""
        rows = await self._postgres.rows("memory_chain", **_whose(user), id=_uuid(id_))
        return [memory_of(row) for row in rows]

    async def sources(self, user: User, id_: str) -> list[Origin]:
        """Return where a memory was said, the first time first."""
        rows = await self._postgres.rows("memory_sources", **_whose(user), id=_uuid(id_))
        return [_origin(row) for row in rows]

    async def correct(
        self, user: User, memory: Memory, text: str, origin: Origin, *, vector: Vector | None, model: str
    ) -> Memory:
        """Replace the text of a living memory by a checked one; the old one stays in its chain.

        Raises:
            NotFound: it no longer holds.
        """
        item = Item(
            text=text, origin=origin, type=memory.type, topics=memory.topics, pinned=memory.pinned, trust="user"
        )
        how: How = "corrected"
        decided = [Keeping(item=item, vector=vector, model=model, closes=(Closing(memory.id, how),))]
        while True:
            seen = await self.seen(user)
            if not (await self.get(user, memory.id)).living:
                raise NotFound(f"Memory {memory.no} holds no longer; `/memories` lists those that do.")
            if kept := await self.keep(user, seen, decided):
                return await self.get(user, kept.settled[0].id or memory.id)

    async def pin(self, user: User, id_: str, pinned: bool) -> Memory:
        """Pin one, or no longer; NotFound when it is not this person's."""
        row = await self._postgres.row("pin_memory", **_whose(user), id=_uuid(id_), pinned=pinned)
        if row is None:
            raise NotFound("There is no such memory of yours; `/memories` lists them.")
        return memory_of(row)

    async def erase(self, user: User, id_: str | None, *, by: str, trace: str = "") -> dict[str, str]:
        """Erase one with its whole chain, or all (None), for good; return their texts by id: both are in Redis, too.

        Raises:
            NotFound: there is no such memory of this person.
        """
        rows = await self._postgres.rows(
            "erase_memories", **_whose(user), id=None if id_ is None else _uuid(id_), by=by, trace=trace
        )
        if not rows and id_ is not None:
            raise NotFound("There is no such memory of yours; `/memories` lists them.")
        return {str(row["id"]): row["text"] for row in rows}

    async def count(self, user: User) -> Count:
        """Return how many a person has."""
        return Count(**(await self._postgres.row("memory_counts", **_whose(user)) or {}))


def _whose(user: User) -> dict[str, str]:
    return {"tenant": user.tenant_id, "user": user.id}


def _wanted(it: Keeping) -> dict[str, Any]:
    item = it.item
    return {
        "id": it.id, "type": item.type, "text": item.text, "hash": fingerprint(item.text).hex(),
        "topics": list(item.topics), "confidence": item.confidence, "trust": item.trust, "pinned": item.pinned,
        "valid_from": item.valid_from and item.valid_from.isoformat(), "source": item.origin.source,
        "conversation": item.origin.conversation_id, "message": item.origin.message_id, "turn": item.origin.turn_no,
        "agent": item.origin.agent, "vector": to_text(it.vector), "model": it.model, "confirms": it.confirms,
        "closes": [{"id": closed.id, "how": closed.how} for closed in it.closes],
    }  # fmt: skip


def _stamp(it: Promoted) -> dict[str, Any]:
    return {"conversation": it.conversation, "from": it.from_turn, "to": it.to_turn, "how": it.how, "task": it.task}


def memory_of(row: Row) -> Memory:
    """Return the memory that a row is."""
    return Memory(
        id=str(row["id"]), no=row["no"], user_id=str(row["user_id"]), tenant_id=row["tenant_id"], type=row["type"],
        text=row["text"], topics=tuple(row["topics"]), confidence=round(row["confidence"], 3), trust=row["trust"],
        origin=_origin(row), pinned=row["pinned"], valid_from=row["valid_from"], valid_to=row["valid_to"],
        superseded_by=_text(row["superseded_by"]), superseded_how=row["superseded_how"], sources=row["sources"],
        version=row["version"], created_at=row["created_at"],
    )  # fmt: skip


def _origin(row: Row) -> Origin:
    return Origin(
        row["source"], _text(row["conversation_id"]), _text(row["message_id"]), row["turn_no"], row["agent_id"]
    )


def _text(id_: UUID | None) -> str | None:
    return None if id_ is None else str(id_)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound("There is no such memory of yours; `/memories` lists them.") from None
