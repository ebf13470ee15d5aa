"""Words of a text, as the full-text half of the index knows them, in any language. Pure.

RediSearch folds case and splits at punctuation in ASCII only, so `„Über“` would be one word that nobody finds, and a
Chinese sentence another. What it would get wrong is split here, at both ends: words in normal form (NFKC, case folded),
scripts without spaces as overlapping pairs of characters, as search engines do with them (bigrams).
"""

import re
import unicodedata

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
_ASCII = re.compile(r"[a-z0-9_]+")
_SPLITS = re.compile(r"[\x00-/:-@\[-^`{-\x7f\s]+")
"""Where RediSearch itself splits."""
MAX_WORDS = 32
"""Words of a query that are searched; a longer one is a text, and its meaning is in its vector."""


def words(text: str) -> list[str]:
    """Return the words of a text in normal form, each once, in their order."""
    found: dict[str, None] = {}
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        found.update(dict.fromkeys(_parts(word)))
    return list(found)


def unlike_ascii(text: str) -> list[str]:
    """Return those words of a text that RediSearch would not find in it by itself."""
    known = {part for part in _SPLITS.split(text.lower()) if _ASCII.fullmatch(part)}
    return [word for word in words(text) if word not in known]


def _parts(word: str) -> list[str]:
    """Split a run of letters where its script changes between one with spaces and one without."""
    parts, at = list[str](), 0
    for run in _UNSPACED.finditer(word):
        parts += [word[at : run.start()], *_pairs(run[0])]
        at = run.end()
    return [part for part in (*parts, word[at:]) if part.strip("_")]


def _pairs(run: str) -> list[str]:
    return [run] if len(run) < 2 else [run[at : at + 2] for at in range(len(run) - 1)]
