"""Vectors that were asked for before: those of this process at hand, everybody's in Redis. Losing them costs time only.

Vectors tell much of a text, so they can be forgotten on purpose (`forget`). What another process has at hand it keeps
for up to `AT_HAND_S`, and one that is asking at that moment may put its answer back.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from redis.client import NEVER_DECODE

from appliance.core.clock import monotonic
from appliance.core.errors import StoreAway
from appliance.core.metrics import EMBEDDING_CACHE
from appliance.core.redis import Redis, answering
from appliance.core.vectors import Vector, floats

AT_HAND = 2048
"""Vectors a process keeps for itself; with 1536 dimensions that is 13 MB."""
AT_HAND_S = 300.0
PAUSE_S = 5.0
"""So long Redis is not asked after it did not answer: one call waits for it, not each."""
_HITS, _MISSES = EMBEDDING_CACHE.labels("hit"), EMBEDDING_CACHE.labels("miss")


class VectorCache:
    """Vectors by the digest of what was sent; `redis` may be none, as in solo mode."""

    def __init__(self, redis: Redis | None, model: str, *, ttl_s: int) -> None:
        self._redis = redis if ttl_s else None
        self._model = model
        self._ttl_s = ttl_s
        self._at_hand: OrderedDict[str, tuple[float, Vector]] = OrderedDict()
        self._ask_again = 0.0

    async def get(self, digests: Sequence[str]) -> dict[str, Vector]:
        """Return those vectors that are known, by digest. A Redis that is away knows none."""
        found = {it: known for it in digests if (known := self._here(it))}
        if missing := [it for it in digests if it not in found]:
            found |= await self._of_redis(missing)
        self._keep(found)
        _HITS.inc(len(found))
        _MISSES.inc(len(digests) - len(found))
        return found

    async def put(self, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors; only here while Redis is away."""
        self._keep(vectors)
        if self._redis is None or self._pauses() or not vectors:
            return
        keys = self._redis.keys
        try:
            async with answering("set"), self._redis.data.pipeline(transaction=False) as pipeline:
                for digest, it in vectors.items():
                    pipeline.set(keys.embedding(self._model, digest), it, ex=self._ttl_s)
                await pipeline.execute()
        except StoreAway:
            self._pause()

    async def forget(self, digests: Sequence[str]) -> None:
        """Remove vectors here and in Redis.

        Raises:
            StoreAway: Redis does not answer; forget once more when it does.
        """
        for digest in digests:
            self._at_hand.pop(digest, None)
        if self._redis is not None and digests:
            async with answering("unlink"):
                await self._redis.data.unlink(*self._names(self._redis, digests))

    def _here(self, digest: str) -> Vector | None:
        until, it = self._at_hand.get(digest, (0.0, None))
        if until > monotonic():
            return it
        self._at_hand.pop(digest, None)
        return None

    async def _of_redis(self, digests: Sequence[str]) -> dict[str, Vector]:
        if self._redis is None or self._pauses():
            return {}
        ask: Any = self._redis.data.execute_command
        try:
            async with answering("mget"):
                said = await ask("MGET", *self._names(self._redis, digests), **{NEVER_DECODE: True})
        except StoreAway:
            self._pause()
            return {}
        return {digest: it for digest, it in zip(digests, said, strict=True) if it and _is_vector(it)}

    def _names(self, redis: Redis, digests: Sequence[str]) -> list[str]:
        return [redis.keys.embedding(self._model, digest) for digest in digests]

    def _keep(self, vectors: Mapping[str, Vector]) -> None:
        until = monotonic() + AT_HAND_S
        for digest, it in vectors.items():
            self._at_hand.setdefault(digest, (until, it))
            self._at_hand.move_to_end(digest)
        while len(self._at_hand) > AT_HAND:
            self._at_hand.popitem(last=False)

    def _pauses(self) -> bool:
        return monotonic() < self._ask_again

    def _pause(self) -> None:
        self._ask_again = monotonic() + PAUSE_S


def _is_vector(found: bytes) -> bool:
    try:
        return bool(floats(found))
    except ValueError:
        return False
