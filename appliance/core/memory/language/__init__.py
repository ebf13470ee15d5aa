"""What the rules of deduplication know of each language: TOML files beside this one, read once. Pure."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

LANGUAGES = ("en", "de", "es")
LONGEST_PHRASE = 4
_MARKS = "about not hate stopped now rather is have the me i and from past"
Phrase = tuple[str, ...]


class Words(msgspec.Struct, frozen=True):
    """One language. A phrase is one to four folded words; what it `means` are marks (`!not`) and concepts (`live`)."""

    code: str
    means: Mapping[Phrase, tuple[str, ...]]
    apart: Mapping[str, tuple[str, str]]
    """First word → second word further on and the phrase that both are: *stehe … auf*."""
    compounds: tuple[str, ...]
    """Parts by which long words are taken apart: *Lieblings|farbe*."""
    endings: tuple[str, ...]
    months: tuple[str, ...]
    numbers: tuple[str, ...]
    half: str
    half_is: int
    """Minutes that `half` adds to the hour it names: 30, in German -30."""
    quarter: str


def folded(text: str) -> str:
    """Return text in lower case without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(it for it in plain if not unicodedata.combining(it))


@cache
def words_of(code: str) -> Words:
    """Return a language's words."""
    raw = tomllib.loads((files(__package__) / f"{code}.toml").read_text("utf-8"))
    means: dict[Phrase, tuple[str, ...]] = {}
    for meaning, phrases in _meanings(raw):
        for phrase in map(_phrase, phrases.split()):
            means[phrase] = (*means.get(phrase, ()), meaning)
    clock = raw["clock"]
    return Words(
        code=code, means=means, apart=dict(map(_apart, raw.get("apart", "").split())),
        compounds=tuple(raw.get("compounds", "").split()), endings=tuple(raw["endings"].split()),
        months=tuple(clock["months"].split()), numbers=tuple(clock["numbers"].split()),
        half=clock["half"].replace("_", " "), half_is=clock["half_is"], quarter=clock["quarter"].replace("_", " "),
    )  # fmt: skip


def _meanings(raw: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for mark in _MARKS.split():
        yield f"!{mark}", raw[mark]
    yield from raw["concepts"].items()
    for kind, values in raw["kinds"].items():
        for value, phrases in values.items():
            yield f"{kind}:{value}", phrases


def _phrase(written: str) -> Phrase:
    return tuple(written.split("_"))


def _apart(written: str) -> tuple[str, tuple[str, str]]:
    first, second = written.split(":")
    return first, (second, f"{first}_{second}")


def language_of(*texts: str) -> Words:
    """Return the words of the language that knows most words of the first text in which any does; else English."""
    for text in texts:
        said = re.findall(r"\w+", folded(text))
        known = {code: sum((word,) in words_of(code).means for word in said) for code in LANGUAGES}
        if any(known.values()):
            return words_of(max(LANGUAGES, key=lambda code: known[code]))
    return words_of(LANGUAGES[0])
