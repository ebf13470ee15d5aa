"""The one way in: texts are checked, embedded, compared with what is known, decided on and kept (DESIGN 10).

The embedder may be away: rules then compare with the newest memories instead of the nearest, and the sweep of the
index adds the vector later. If somebody else writes meanwhile, the decision is void and made again on what is there.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from agent_image.runner.memory.patience import Patience
from appliance.core import logs
from appliance.core.embeddings import Embedder, HttpEmbedder, threshold_of
from appliance.core.errors import BadInput, Conflict, EmbedderAway, NotFound, StoreAway, TooLarge
from appliance.core.memory.deduplication import Decision, Radii, Verdict, compare, decide
from appliance.core.memory.items import Item, Keeping, Memory, Near, checked_text, fingerprint
from appliance.core.memory.store import Kept, MemoryStore, Promoted, Settled
from appliance.core.metrics import MEMORIES_KEPT
from appliance.core.records import User
from appliance.core.settings import Settings
from appliance.core.vectors import Vector, distance

log = logs.get("memories")
MOST_ITEMS = 10_000
"""More at a time are refused; a text may have 1 MB, to be told that it is too long."""
BATCH = 64
"""Items of one transaction."""
NEIGHBOURS, NEWEST = 10, 100
"""Memories an item is compared with: the nearest, or without a vector the newest."""
WIDER = 0.08
"""Beyond the distance of the same there may still be what is contradicted."""
ONE_S = 3.0
"""Seconds a single text waits for its vector; the sweep of the index adds one that comes later."""
AGAIN = 100
"""Decisions made anew; each time somebody else's write has been kept."""


class Judge(Protocol):
    """A model that is asked how a text relates to others."""

    async def judge(self, new: str, known: Sequence[str]) -> tuple[Verdict, ...] | None:
        """Return a verdict for each of `known`; None: there is none that can be used, and rules decide."""


class _Wanted(msgspec.Struct, frozen=True):
    """An item that can be kept, and where it stood among all."""

    at: int
    item: Item
    vector: Vector | None


class Remembering:
    """Keeps items for people."""

    def __init__(self, store: MemoryStore, embedder: Embedder, radii: Radii, judge: Judge | None = None) -> None:
        self._store = store
        self._embedder = embedder
        self._radii = radii
        self._judge = judge
        self._patience = Patience()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By person: who writes here waits for who does already, instead of making its decision void."""

    async def keep_one(self, user: User, item: Item) -> Settled:
        """Keep one item and return what became of it.

        Raises:
            BadInput: its text cannot be kept. StoreAway: nothing was changed.
        """
        checked_text(item.text)
        return (await self.remember(user, [item]))[0]

    async def remember(self, user: User, items: Sequence[Item]) -> tuple[Settled, ...]:
        """Keep items in their order; each is kept, same (it was known: its source was added), or refused, and why.

        Raises:
            TooLarge: more than MOST_ITEMS. StoreAway: items after the last whole batch were not kept; come again.
        """
        if len(items) > MOST_ITEMS:
            raise TooLarge(
                f"{len(items):,} items are more than the {MOST_ITEMS:,} kept at a time: bring them in parts."
            )
        settled: list[Settled] = []
        for at in range(0, len(items), BATCH):
            settled += (await self.keep(user, items[at : at + BATCH])).settled
        return tuple(settled)

    async def keep(self, user: User, items: Sequence[Item], promotion: Promoted | None = None) -> Kept:
        """Keep items in one transaction, with the stamp of the turns that they were read from.

        Raises:
            StoreAway: nothing was changed. Conflict: others have written each time before it could be kept.
        """
        refused, wanted = await self._prepared(items)
        async with self._turns.setdefault(user.id, asyncio.Lock()):
            kept = await self._keep(user, refused, wanted, promotion)
        # What was erased, or deleted with its conversation, has just been asked for its vector once more.
        await self.forget([it.item.text for it in wanted if kept.before or kept.settled[it.at].what == "refused"])
        return kept

    async def _keep(
        self, user: User, refused: dict[int, Settled], wanted: Sequence[_Wanted], promotion: Promoted | None
    ) -> Kept:
        """Decide and keep, again whenever another agent wrote meanwhile."""
        related = True
        for _ in range(AGAIN):
            seen = await self._store.seen(user)
            decided, outdated = await self._decided(user, wanted, related=related)
            try:
                kept = await self._store.keep(user, seen, [it for _, it, _ in decided], promotion=promotion)
            except NotFound:  # an item that another one of these closes was erased once, and is refused now
                related = False
                continue
            if kept is not None:
                return self._told(kept, decided, refused | outdated)
        raise Conflict("Others write to these memories all the time; try again in a moment.")

    async def vector_of(self, text: str) -> tuple[Vector | None, str]:
        """Return a text's vector, None when there is none at the moment, and the name of its model."""
        return (await self._vectors([text]))[0], self._embedder.model

    async def forget(self, texts: Sequence[str]) -> None:
        """Take what was made of erased texts out of the cache."""
        if isinstance(self._embedder, HttpEmbedder):
            try:
                await self._embedder.forget(texts)
            except StoreAway as error:  # they go by themselves when their time is over
                log.warning("vectors_unforgotten", texts=len(texts), error=str(error))

    async def _prepared(self, items: Sequence[Item]) -> tuple[dict[int, Settled], list[_Wanted]]:
        refused: dict[int, Settled] = {}
        fine: list[tuple[int, Item]] = []
        for at, item in enumerate(items):
            try:
                fine.append((at, msgspec.structs.replace(item, text=checked_text(item.text))))
            except BadInput as error:
                refused[at] = Settled("refused", None, error.detail)
        vectors = await self._vectors([item.text for _, item in fine])
        return refused, [_Wanted(at, item, vector) for (at, item), vector in zip(fine, vectors, strict=True)]

    async def _vectors(self, texts: Sequence[str]) -> list[Vector | None]:
        embedding = self._embedder.embed(texts)
        try:
            # Before a single text somebody waits.
            found = await (
                self._patience.within(ONE_S, embedding, of="a memory's vector") if len(texts) == 1 else embedding
            )
        except EmbedderAway as error:
            log.warning("kept_without_vectors", texts=len(texts), error=error.detail)
            found = None
        return list(found) if found else [None] * len(texts)

    async def _decided(
        self, user: User, wanted: Sequence[_Wanted], *, related: bool
    ) -> tuple[list[tuple[int, Keeping, str]], dict[int, Settled]]:
        """Return what is to be kept and why, by place, and what was overtaken by what was said later."""
        decided: list[tuple[int, Keeping, str]] = []
        outdated: dict[int, Settled] = {}
        among = _Together(self._radii.wide)
        for it in wanted:
            near = await self._near(user, it)
            near += among.near(it) if related else []
            near = [one for one in near if one.memory.id not in among.closed]
            decision = decide(it.item, near, await self._verdicts(it.item, near))
            if decision.overtaken is not None:
                outdated[it.at] = Settled("refused", None, f"Said later: {decision.overtaken.text}")
                continue
            keeping = self._keeping(it, decision)
            decided.append((it.at, keeping, decision.why))
            among.add(user, it, keeping)
            await asyncio.sleep(0)  # comparing many keeps nobody else waiting
        return decided, outdated

    def _keeping(self, it: _Wanted, decision: Decision) -> Keeping:
        return Keeping(
            item=it.item, vector=it.vector, model=self._embedder.model, closes=decision.closes,
            confirms=decision.confirms.id if decision.confirms else None,
        )  # fmt: skip

    async def _near(self, user: User, it: _Wanted) -> list[Near]:
        """Return living memories to compare with; without a vector the rules alone must tell, as if from far."""
        same = await self._store.of_hash(user, fingerprint(it.item.text))
        if same is not None:
            return [Near(same, 0.0)]
        if it.vector is None:
            newest = await self._store.listing(user, limit=NEWEST)
            return [Near(memory, self._radii.wide) for memory in newest]
        return await self._store.near(user, it.vector, self._embedder.model, NEIGHBOURS)

    async def _verdicts(self, item: Item, near: Sequence[Near]) -> tuple[Verdict, ...]:
        by_rules = tuple(compare(item.text, it.memory.text, it.distance, self._radii) for it in near)
        close = [at for at, it in enumerate(near) if 0 < it.distance <= self._radii.wide]
        if self._judge is None or not close or any(it.reason == "the same text" for it in by_rules):
            return by_rules
        judged = await self._judge.judge(item.text, [near[at].memory.text for at in close])
        if judged is None:
            return by_rules
        by_model = dict(zip(close, judged, strict=True))
        return tuple(by_model.get(at, verdict) for at, verdict in enumerate(by_rules))

    def _told(self, kept: Kept, decided: Sequence[tuple[int, Keeping, str]], others: dict[int, Settled]) -> Kept:
        """Return what became of all items in their order, and count it."""
        if kept.before:
            return kept
        told = dict(others)
        for (at, keeping, why), settled in zip(decided, kept.settled, strict=True):
            told[at] = msgspec.structs.replace(settled, why=settled.why or why)
            for closed in keeping.closes if settled.what != "refused" else ():
                MEMORIES_KEPT.labels(closed.how).inc()
        for settled in told.values():
            MEMORIES_KEPT.labels(settled.what).inc()
        return msgspec.structs.replace(kept, settled=tuple(told[at] for at in sorted(told)))


class _Together:
    """Items that are kept in the same transaction: the rows do not show them yet to those that follow."""

    def __init__(self, unknown: float) -> None:
        """`unknown` is the distance of what has no vector."""
        self._unknown = unknown
        self._known: list[tuple[Memory, Vector | None]] = []
        self.closed: set[str] = set()

    def add(self, user: User, it: _Wanted, keeping: Keeping) -> None:
        """Note a decision."""
        self.closed |= {closed.id for closed in keeping.closes}
        if keeping.confirms is None:
            self._known.append((_future(user, it.item, keeping.id), it.vector))

    def near(self, it: _Wanted) -> list[Near]:
        """Return the latest of the same transaction that still hold, with their distances; more would take too long."""
        return [
            Near(memory, distance(it.vector, vector) if it.vector and vector else self._unknown)
            for memory, vector in self._known[-BATCH:] if memory.id not in self.closed
        ]  # fmt: skip


def _future(user: User, item: Item, id_: str) -> Memory:
    now = datetime.now(UTC)
    return Memory(
        id=id_, no=0, user_id=user.id, tenant_id=user.tenant_id, type=item.type, text=item.text, topics=item.topics,
        confidence=item.confidence, trust=item.trust, origin=item.origin, pinned=item.pinned,
        valid_from=item.valid_from or now, valid_to=None, superseded_by=None, superseded_how="", sources=1, version=1,
        created_at=now,
    )  # fmt: skip


def radii_of(config: Settings) -> Radii:
    """Return how near texts have to be to be compared, for the embedding model that is set."""
    same = threshold_of(config.embedding_model, config.embedding_duplicate_distance)
    return Radii(same, same + WIDER)
