"""The labelled set: what was known, what is said, and what it means. Every third case of a list is held out."""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from appliance.core.memory.deduplication import RELATIONS, Relation
from appliance.core.memory.language import LANGUAGES

FOLDER = Path(__file__).parent
Part = Literal["tuned", "held out", "later", "unseen"]
PARTS: tuple[Part, ...] = ("tuned", "held out", "later", "unseen")
"""Rules were changed until the first were right; the second were looked at again when a late change broke two of them.
The others were written when the rules were finished: what the third showed was mended; of the fourth no labelled pair
was, but its sentences showed false contradictions with others, which were. So none is quite unseen."""
_AFTER: tuple[Part, ...] = ("later", "unseen")


class Pair(NamedTuple):
    """Two sentences and how the newer one relates to the older one."""

    language: str
    part: Part
    relation: Relation
    older: str
    newer: str


class Case(NamedTuple):
    """Any other case: its words as the file has them."""

    language: str
    part: Part
    words: list[Any]


@cache
def _raw(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


def _part(number: int) -> Part:
    return "held out" if number % 3 == 2 else "tuned"


def pairs() -> Iterator[Pair]:
    """Yield all pairs."""
    for language in LANGUAGES:
        for relation in RELATIONS:
            for number, (older, newer) in enumerate(_raw(language)[relation]):
                yield Pair(language, _part(number), relation, older, newer)
            for part in _AFTER:
                for older, newer in _raw(part)[language][relation]:
                    yield Pair(language, part, relation, older, newer)


def cases(name: Literal["twice", "erased", "injected", "extracted"]) -> Iterator[Case]:
    """Yield the cases of a list."""
    for language in LANGUAGES:
        for number, words in enumerate(_raw(language)[name]):
            yield Case(language, _part(number), words)


def sentences() -> Iterator[tuple[str, str]]:
    """Yield all (older, newer) whose distance counts."""
    for pair in pairs():
        yield pair.older, pair.newer
    for case in cases("twice"):
        yield from zip(case.words, case.words[1:], strict=False)
