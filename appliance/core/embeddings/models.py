"""What is known of embedding models by name: prefixes, how much of a text they read, what is the same. Pure."""

import re
from typing import Literal, NamedTuple

Wanted = Literal["auto", "e5", "none"]
"""EMBEDDING_PREFIXES."""


class Prefixes(NamedTuple):
    """What a model wants to see before a question, and before what is looked through."""

    query: str = ""
    passage: str = ""


class _Model(NamedTuple):
    pattern: str
    prefixes: Prefixes
    duplicate: float
    """Cosine distance below which two texts say the same."""
    related: float
    """Cosine distance of a question to a passage above which the passage has hardly to do with it."""
    chars: int
    """Characters of a text that are sent; the model would read little more, and each costs time."""


E5 = Prefixes("query: ", "passage: ")
_NOMIC = Prefixes("search_query: ", "search_document: ")
# E5 reads 512 tokens. Seen with multilingual-e5-small: paraphrases 0.03 to 0.08 apart, other facts 0.14 to 0.26.
# A memory that answers a question stands 0.16 to 0.22 from it, any other one 0.18 to 0.26 [16 questions, 10 memories].
# Those tuned for instructions want other words before a question, and do well without.
_MODELS = (
    _Model(r"(^|[-/_])e5-(?!.*instruct)", E5, duplicate=0.12, related=0.2, chars=2000),
    _Model(r"^(openai/)?text-embedding-3-", Prefixes(), duplicate=0.35, related=0.7, chars=8000),
    _Model(r"nomic-embed-text", _NOMIC, duplicate=0.12, related=0.4, chars=8000),
)
_OTHER = _Model("", Prefixes(), duplicate=0.12, related=0.5, chars=2000)


def prefixes_of(model: str, wanted: Wanted = "auto") -> Prefixes:
    """Return the prefixes of a model; `wanted` overrides what its name says."""
    return {"e5": E5, "none": Prefixes()}.get(wanted) or _known(model).prefixes


def threshold_of(model: str, wanted: float = 0.0) -> float:
    """Return the cosine distance below which two texts say the same to this model; `wanted` unless 0 overrides it."""
    return wanted or _known(model).duplicate


def related_of(model: str, wanted: float = 0.0) -> float:
    """Return the cosine distance up to which a memory may belong to a message; `wanted` unless 0 overrides it."""
    return wanted or _known(model).related


def longest_of(model: str) -> int:
    """Return how many characters of a text this model is sent."""
    return _known(model).chars


def _known(model: str) -> _Model:
    return next((it for it in _MODELS if re.search(it.pattern, model.lower())), _OTHER)
