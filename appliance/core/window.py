"""How much of what was said goes into a model's window, and what goes into the summary instead. Pure."""

from collections.abc import Sequence

import msgspec

MOST = 50
"""Messages that go word for word at most, once the summary was made."""
BYTES_A_TOKEN = 3
_MESSAGE_TOKENS = 4


class Said(msgspec.Struct, frozen=True):
    """One message of the past."""

    role: str
    text: str
    turn_no: int = 0


def tokens(text: str) -> int:
    """Estimate a message's tokens, rather too high: three bytes are about one, so that no alphabet is underrated."""
    return -(-len(text.encode()) // BYTES_A_TOKEN) + _MESSAGE_TOKENS


def fit(messages: Sequence[Said], summary: str, budget: int) -> tuple[str, tuple[Said, ...]]:
    """Return the summary and the newest messages that fit into `budget` tokens together.

    The summary comes first, whole or not at all; messages are cut from the old end, and the first is a user's. Messages
    that were cut to a larger budget before come to the same.
    """
    summary = summary if summary and tokens(summary) <= budget else ""
    kept = _newest(messages, budget - (tokens(summary) if summary else 0))
    while kept and kept[0].role != "user":
        kept = kept[1:]
    return summary, tuple(kept)


def fold(messages: Sequence[Said], limit: int) -> int:
    """Return the last turn that should go into the summary, or 0 when nothing should.

    Nothing does up to `limit` tokens and MOST messages; above, what is left word for word is half of that, whole turns.
    """
    if sum(tokens(it.text) for it in messages) <= limit and len(messages) <= MOST:
        return 0
    kept = _newest(messages, limit // 2)[-(MOST // 2) :]
    older = messages[: len(messages) - len(kept)]
    return older[-1].turn_no


def _newest(messages: Sequence[Said], budget: int) -> Sequence[Said]:
    first = len(messages)
    while first and (budget := budget - tokens(messages[first - 1].text)) >= 0:
        first -= 1
    return messages[first:]
