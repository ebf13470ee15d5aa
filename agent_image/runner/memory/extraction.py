"""What a message tells of its person that will still hold tomorrow: sentence by sentence, by rules. Pure.

Nothing is rewritten: an item is a sentence of the message. Questions, code, quotations and whatever stands behind
"ignore previous instructions" are left out. Who does not speak for the person, a tool or a page, gives no preferences.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from appliance.core.memory.items import Kind, Trust
from appliance.core.memory.language import language_of

MOST_CHARS = 100_000
"""Characters of a message that are read."""
LONGEST, SHORTEST = 400, 6
"""Characters of a sentence that is looked at."""
MOST = 50
"""Items of one message; whoever pastes a book is not telling of himself."""
_ORDER: tuple[Literal["remember"] | Kind, ...] = ("remember", "pattern", "preference", "goal", "project", "fact")
_SURE = {"remember": 1.0, "preference": 0.9, "fact": 0.9, "goal": 0.8, "project": 0.8, "pattern": 0.7}
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|^(?: {4}|\t).*$", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"^\s*>.*$|\"[^\"]*\"|„[^“”]*[“”]|“[^”]*”|«[^»]*»|»[^«]*«", re.MULTILINE)
_END = re.compile(r"(?<=[.!?…])(?<!\d\.)(?<!\b[^\W\d_]\.)(?<!\b(?:Mr|Dr|St)\.)(?<!\b(?:Mrs|bzw)\.)\s+|\n+|;\s+")


class Found(msgspec.Struct, frozen=True):
    """A sentence worth keeping."""

    text: str
    type: Kind
    confidence: float


def extract(message: str, trust: Trust = "user") -> tuple[Found, ...]:
    """Return what a message tells, in its order."""
    plain = readable(message, trust)
    found = (item for sentence in _sentences(plain) if (item := _item(sentence, trust)) is not None)
    return tuple(item for item, _ in zip(found, range(MOST), strict=False))


def readable(message: str, trust: Trust = "user") -> str:
    """Return what of a message is its author's own and tells something: no code, no quotations, no command."""
    if message.lstrip().startswith("/"):
        return ""
    return _without_orders(_QUOTED.sub(" ", _CODE.sub("\n", message[:MOST_CHARS])), trust)


def instructs(text: str, trust: Trust) -> bool:
    """Whether a text would rule the model rather than tell of a person; of a person's own words little is that."""
    said = text.lower()
    if _rule("orders").search(said) or _rule("secrets").search(said):
        return True
    return trust != "user" and bool(_rule("addressed").search(said))


def _without_orders(plain: str, trust: Trust) -> str:
    """Cut a text where it begins to give orders; of what is not the person's own nothing is left then."""
    order = _rule("orders").search(plain.lower())
    if order is None:
        return plain
    return plain[: order.start()] if trust == "user" else ""


def _sentences(plain: str) -> Iterator[str]:
    for sentence in _END.split(plain):
        yield " ".join(sentence.split())


def _item(sentence: str, trust: Trust) -> Found | None:
    if not SHORTEST <= len(sentence) <= LONGEST:
        return None
    phrases = _phrases(language_of(sentence).code)
    sentence = phrases["ask"].split(sentence)[0].strip()
    if sentence.endswith("?") or sentence.startswith("¿") or instructs(sentence, trust):
        return None
    start = phrases["lead"].match(sentence.lower())
    said = sentence.lower()[start.end() if start else 0 :]
    for kind in _ORDER:
        if (fits := phrases[kind].match(said)) is not None:
            return _kept(sentence, kind, fits, trust, phrases)
    return None


def _kept(
    sentence: str, kind: Literal["remember"] | Kind, fits: re.Match[str], trust: Trust,
    phrases: dict[str, re.Pattern[str]],
) -> Found | None:  # fmt: skip
    """Return the item of a sentence that fits, unless it holds for today only or is the person's to say."""
    said = sentence.lower()
    if kind == "remember":
        return Found(sentence[-len(fits["rest"]) :], "fact", _SURE[kind]) if trust == "user" else None
    if phrases["no"].search(said) or phrases["passing"].search(said) or (kind == "preference" and trust == "tool"):
        return None
    return Found(sentence, kind, _SURE[kind])


@cache
def _raw() -> dict[str, dict[str, str]]:
    return tomllib.loads((files(__package__) / "patterns.toml").read_text("utf-8"))


@cache
def _phrases(language: str) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in _raw()[language].items()}


@cache
def _rule(name: str) -> re.Pattern[str]:
    return re.compile(_raw()["rules"][name])
