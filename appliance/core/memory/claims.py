"""What a sentence claims, as far as rules can tell: about whom, which words count, numbers, dates, negation. Pure.

English, German and Spanish; of another language words, numbers and names are compared as they stand.
"""

import re
from functools import lru_cache

import msgspec

from appliance.core.memory.language import LONGEST_PHRASE, Words, folded, language_of

ANYBODY = "who:"
_LETTER = re.compile(r"(?<=[\w,;:] )([A-HJ-Z])(?![\w'\u2019])")
_WORD = re.compile(r"#?\w+(?:[@:+.\-/]\w+)*")
_THOUSANDS = re.compile(r"(?<=\d)[.,](?=\d{3}\b)")
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))?(?:\s?(uhr|am|pm|h)\b)?(?![.:]?\d)")


class Claim(msgspec.Struct, frozen=True):
    """One sentence read by rules."""

    tokens: tuple[str, ...]
    """What counts, in order: concepts (`live`), values of a kind (`colour:blue`, `n:16`, `date:05-03`), other words."""
    before: frozenset[str] = frozenset()
    """Tokens in front of *is*: what the sentence is about."""
    instead_of: frozenset[str] = frozenset()
    """What something is preferred to, or replaces."""
    names: tuple[str, ...] = ()
    """Capitalised words in the middle, and the first word if it is none that is known."""
    marks: frozenset[str] = frozenset()

    @property
    def negated(self) -> bool:
        """Whether it says that something is not so; *hate* is the negation of *like*."""
        return bool(self.marks & {"!not", "!stopped"}) != ("!hate" in self.marks)

    @property
    def changed(self) -> bool:
        """Whether it says itself that something has changed."""
        return bool(self.marks & {"!now", "!stopped"})

    @property
    def who(self) -> frozenset[str]:
        """Other people and animals it speaks of."""
        return frozenset(it for it in self.tokens if it.startswith(ANYBODY))


@lru_cache(maxsize=4096)
def claim_of(text: str, beside: str = "") -> Claim:
    """Return what a text claims; its language is that of `beside` when it does not show one itself."""
    words = language_of(text, beside)
    return _Reading(words, _plain(text, words), _capitalised(text)).claim()


class _Reading:
    """One pass over the words of one text."""

    def __init__(self, words: Words, said: list[str], capitals: frozenset[str]) -> None:
        self._words, self._said, self._capitals = words, said, capitals
        self._tokens: list[str] = []
        self._marks: set[str] = set()
        self._before: frozenset[str] = frozenset()
        self._chosen: int | None = None

    def claim(self) -> Claim:
        at = 0
        while at < len(self._said):
            length, meanings = self._longest(at)
            self._take(self._said[at], meanings)
            at += length
        end = len(self._tokens) if self._chosen is None else self._chosen
        kept = ["prefer" if it == "like" and "!rather" in self._marks else it for it in self._tokens[:end]]
        names = tuple(it for it in dict.fromkeys(kept) if it in self._capitals)
        return Claim(
            tuple(dict.fromkeys(kept)), self._before, frozenset(self._tokens[end:]), names, frozenset(self._marks)
        )

    def _longest(self, at: int) -> tuple[int, tuple[str, ...]]:
        for length in range(min(LONGEST_PHRASE, len(self._said) - at), 0, -1):
            if (found := self._words.means.get(tuple(self._said[at : at + length]))) is not None:
                return length, found
        return 1, (_stem(self._said[at], self._words),)

    def _take(self, word: str, meanings: tuple[str, ...]) -> None:
        marks = {it for it in meanings if it.startswith("!")}
        if "!is" in marks and not self._before:
            self._before = frozenset(self._tokens)
        if "!rather" in marks and self._chosen is None:
            self._chosen = len(self._tokens)
        self._marks |= marks - {"!about"}
        concepts = [it for it in meanings if it not in marks]
        self._tokens += concepts if concepts or "!from" not in marks else ["from"]
        if word in self._capitals and concepts == [_stem(word, self._words)]:
            self._capitals |= set(concepts)


def _plain(text: str, words: Words) -> list[str]:
    """Return the words of a text, folded, with numbers, times and dates as tokens and split verbs put together."""
    marked = _LETTER.sub(lambda it: f"#{it[1]}", text)
    plain = re.sub(r"can't|cannot", "can not", folded(marked).replace("\u2019", "'"))
    plain = re.sub(r"n't\b", " not", plain).replace("'", " ")
    plain = _dated(_timed(_THOUSANDS.sub("", plain), words), words)
    for part in words.compounds:
        plain = re.sub(rf"\b{part}(?=\w)|(?<=\w){part}\b", f" {part} ", plain)
    said = [_number(it, words) for it in _WORD.findall(plain)]
    return _together(_labelled(said, words), words)


def _labelled(said: list[str], words: Words) -> list[str]:
    """Make a number behind the first noun a part of its name: *room 12* is another room than *room 14*."""
    at = 2 if said and "!the" in words.means.get((said[0],), ()) else 1
    noun = said[at - 1] if len(said) > at + 1 else ""
    marks = {it for it in words.means.get((noun,), ()) if it.startswith("!")}
    if noun and not marks and noun.isalpha() and said[at].startswith("n:"):
        return [*said[:at], f"#{said[at].removeprefix('n:')}", *said[at + 1 :]]
    return said


def _timed(plain: str, words: Words) -> str:
    hours = "|".join(words.numbers)
    half = rf"\b{words.half} ({hours})\b" if words.code != "es" else rf"\b({hours}) {words.half}\b"
    plain = re.sub(half, lambda it: _clock(words.numbers.index(it[1]) * 60 + words.half_is), plain)

    def read(it: re.Match[str]) -> str:
        if (not it[2] and not it[3]) or int(it[1]) > 24 or int(it[2] or 0) > 59:
            return it[0]
        afternoon = 12 if it[3] == "pm" and int(it[1]) < 12 else 0
        return _clock((int(it[1]) + afternoon) * 60 + int(it[2] or 0))

    return _CLOCK.sub(read, plain)


def _clock(minutes: int) -> str:
    return f"time:{minutes // 60:02}{minutes % 60:02}"


def _dated(plain: str, words: Words) -> str:
    months = "|".join(words.months)

    def read(day: str, month: str) -> str:
        return f"date:{words.months.index(month) + 1:02}-{int(day):02}"

    plain = re.sub(rf"\b(\d{{1,2}})(?:st|nd|rd|th|\.)? (?:of |de )?({months})\b", lambda it: read(it[1], it[2]), plain)
    return re.sub(rf"\b({months}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)", lambda it: read(it[2], it[1]), plain)


def _number(word: str, words: Words) -> str:
    if word.isdecimal():
        return f"n:{word}"
    if word in words.numbers:
        return f"n:{words.numbers.index(word)}"
    return f"month:{words.months.index(word) + 1:02}" if word in words.months else word


def _together(said: list[str], words: Words) -> list[str]:
    for at, word in enumerate(said):
        second, phrase = words.apart.get(word, ("", ""))
        if second and second in said[at + 1 :]:
            there = said.index(second, at + 1)
            parts = phrase.split("_")
            return [*said[:at], *parts, *_together(said[at + 1 : there] + said[there + 1 :], words)]
    return said


def _stem(word: str, words: Words) -> str:
    if ":" in word or word.startswith("#") or not word.isalpha():
        return word
    for ending in words.endings:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word.removesuffix(ending)
            return stem[:-1] if stem[-1] == stem[-2] and len(stem) > 3 else stem
    return word


def _capitalised(text: str) -> frozenset[str]:
    return frozenset(folded(it) for it in re.findall(r"\b[^\W\d_a-z]\w+", text))
