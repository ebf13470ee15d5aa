"""Memories as records: what is to be kept, what is kept, where it comes from. Pure."""

import hashlib
import re
import unicodedata
from datetime import datetime
from typing import Literal, get_args
from uuid import uuid4

import msgspec

from appliance.core.errors import BadInput
from appliance.core.vectors import Vector

Kind = Literal["preference", "fact", "project", "pattern", "goal"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Trust = Literal["user", "agent", "tool"]
TRUSTS: tuple[Trust, ...] = get_args(Trust)
"""The most trusted first: a person's own words, an agent's, and what tools and web pages said."""
Source = Literal["message", "command", "tool", "page"]
How = Literal["refined", "contradicted", "corrected", "merged"]
MAX_TEXT = 2000
"""Characters of one memory."""
MAX_TOPICS, MAX_TOPIC = 10, 50
_EDGES = " \t\n.!…。"


class Origin(msgspec.Struct, frozen=True):
    """Where something was said, and by which agent it was kept."""

    source: Source
    conversation_id: str | None = None
    message_id: str | None = None
    turn_no: int | None = None
    agent: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be kept."""

    text: str
    origin: Origin
    type: Kind = "fact"
    trust: Trust = "user"
    topics: tuple[str, ...] = ()
    confidence: float = 1.0
    pinned: bool = False
    valid_from: datetime | None = None
    """Since when it holds; None: since now."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One memory as its row says. Living, as long as `valid_to` is None."""

    id: str
    no: int
    """Its number among its person's, for commands."""
    user_id: str
    tenant_id: str
    type: Kind
    text: str
    topics: tuple[str, ...]
    confidence: float
    trust: Trust
    origin: Origin
    pinned: bool
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: str | None
    superseded_how: How | Literal[""]
    sources: int
    """How many messages said it."""
    version: int
    created_at: datetime

    @property
    def living(self) -> bool:
        """Whether it still holds."""
        return self.valid_to is None


class Near(msgspec.Struct, frozen=True):
    """A memory and its cosine distance, 0 to 2."""

    memory: Memory
    distance: float


class Closing(msgspec.Struct, frozen=True):
    """A memory that holds no more, and why."""

    id: str
    how: How


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: keep an item, close what it replaces; or `confirms`, the id of the memory that it is the same as."""

    item: Item
    vector: Vector | None = None
    model: str = ""
    closes: tuple[Closing, ...] = ()
    confirms: str | None = None
    id: str = msgspec.field(default_factory=lambda: str(uuid4()))
    """Of the memory that it becomes; what is kept after it, together with it, may close or confirm it."""


def normalised(text: str) -> str:
    """Return what two spellings of the same text have in common."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip(_EDGES)


def fingerprint(text: str) -> bytes:
    """Return the SHA-256 of a text's normal form."""
    return hashlib.sha256(normalised(text).encode()).digest()


def checked_text(text: str) -> str:
    """Return a text that can be kept.

    Raises:
        BadInput: it is empty, longer than MAX_TEXT, or no text.
    """
    text = text.strip()
    if not normalised(text):
        raise BadInput(
            "There is nothing to remember: write a sentence, for example `/remember I prefer short answers`."
        )
    if len(text) > MAX_TEXT:
        raise BadInput(f"That is {len(text):,} characters; one memory holds {MAX_TEXT:,}: split it into sentences.")
    if any(unicodedata.category(it) in ("Cc", "Cs") and it not in "\t\n\r" for it in text):
        raise BadInput("That is no text: it holds control characters.")
    return text


def lowest(trusts: tuple[Trust, ...]) -> Trust:
    """Return the trust of what was made from several sources: that of the least trusted."""
    return TRUSTS[max(map(TRUSTS.index, trusts), default=0)]
