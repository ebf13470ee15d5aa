"""From two rankings to one: by meaning and by words, then gently by age, certainty and a person's pin. Pure.

Ranks are fused, not scores: a cosine distance and a BM25 score have no common scale. Reciprocal rank fusion gives each
memory the sum of 1 / (60 + rank) over the rankings it is in (Cormack, Clarke and Büttcher, SIGIR 2009, with their 60).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from appliance.core.memory.items import Memory

K = 60
HALF_LIFE_DAYS = 90.0
OLDEST, LEAST_CERTAIN = 0.8, 0.7
"""What age and doubt leave of a score at most: a better match by far still wins. Two ranks apart at the top are 3 %."""
PINNED = 1.5


class Hit(NamedTuple):
    """A memory that was found. `distance`: cosine, of 0 to 2; None: it was found by its words alone."""

    memory: Memory
    distance: float | None
    score: float


def fused(near: Sequence[str], told: Sequence[str]) -> dict[str, float]:
    """Return a score for each id of two rankings, the best of each first."""
    scores: dict[str, float] = {}
    for ranking in (near, told):
        for rank, id_ in enumerate(dict.fromkeys(ranking), 1):
            scores[id_] = scores.get(id_, 0.0) + 1 / (K + rank)
    return scores


def foremost(near: Sequence[str], told: Sequence[str], count: int) -> list[str]:
    """Return the first `count` ids of two rankings fused, the best first."""
    scores = fused(near, told)
    return sorted(scores, key=lambda it: -scores[it])[:count]


def weight(memory: Memory, now: datetime) -> float:
    """Return what age, certainty and a pin make of a score: 0.56 to 1.5 times it."""
    days = max(0.0, (now - memory.valid_from).total_seconds() / 86_400)
    recency = OLDEST + (1 - OLDEST) * 0.5 ** (days / HALF_LIFE_DAYS)
    certainty = LEAST_CERTAIN + (1 - LEAST_CERTAIN) * memory.confidence
    # Who pins a memory says that it does not age.
    return PINNED * certainty if memory.pinned else recency * certainty


def ranked(
    near: Sequence[tuple[str, float]], told: Sequence[str], memories: Mapping[str, Memory], *, now: datetime, limit: int
) -> tuple[Hit, ...]:
    """Return the best of those of which there is a memory; the rest were erased, or closed, since they were indexed."""
    distances = dict(near)
    scores = fused([id_ for id_, _ in near], told)
    hits = [
        Hit(memory, distances.get(id_), score * weight(memory, now))
        for id_, score in scores.items() if (memory := memories.get(id_))
    ]  # fmt: skip
    # Equal scores: the newer one, then by id, so that the same question has the same answer.
    return tuple(sorted(hits, key=lambda it: (-it.score, -it.memory.no, it.memory.id))[:limit])
