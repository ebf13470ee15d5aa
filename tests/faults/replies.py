"""What befalls Redis' replies one by one: pushes that never come, a reply lost after the request was carried out.

replies = Replies()
async with Proxy(redis_url, watch=replies.watch) as proxy: …
"""

from collections import deque
from dataclasses import dataclass, field

SUBSCRIPTIONS = ("SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE")
"""Answered by one push a channel, not by a reply."""
_MESSAGES = ("MESSAGE", "PMESSAGE", "SMESSAGE")


@dataclass
class Wanted:
    """A reply to be swallowed: the `left`-th from now to a command that begins with these words."""

    words: tuple[str, ...]
    left: int


@dataclass
class Replies:
    """The rules for all connections of one proxy."""

    drop_messages: bool = False
    """Whether pub/sub messages are lost; subscriptions are answered all the same."""
    swallowed: list[tuple[str, ...]] = field(default_factory=list)
    """Commands whose reply was lost, so that a test can see that its fault took place."""
    _wanted: list[Wanted] = field(default_factory=list)
    _shown: dict[bytes, bytes] = field(default_factory=dict)

    def swallow(self, *words: str, nth: int = 1) -> None:
        """Lose the reply to the nth command from now that begins so, such as ("XADD",) or ("FCALL", "renew").

        The request is carried out; afterwards nothing more arrives on that connection, as after a host's loss of power.
        """
        self._wanted.append(Wanted(tuple(word.upper() for word in words), nth))

    def show(self, told: str, instead: str) -> None:
        """Let a value read as another one: an agent's liveness port as that of a proxy before it, say."""
        self._shown[_bulk(told)] = _bulk(instead)

    def watch(self) -> "Conversation":
        """Look into one more connection."""
        return Conversation(self)

    def loses(self, command: list[str]) -> tuple[str, ...] | None:
        """Count a command; return the words it was wanted by when its reply is to be lost."""
        meant = [wanted for wanted in self._wanted if tuple(command[: len(wanted.words)]) == wanted.words]
        for wanted in meant:
            wanted.left -= 1
        return next((wanted.words for wanted in meant if wanted.left == 0), None)

    def as_shown(self, frame: bytes) -> bytes:
        """Return a reply as the client is to see it."""
        for told, instead in self._shown.items():
            frame = frame.replace(told, instead)
        return frame


class Conversation:
    """One connection to Redis: which command each reply answers."""

    def __init__(self, rules: Replies) -> None:
        self._rules = rules
        self._incomplete = {"requests": b"", "replies": b""}
        self._unanswered: deque[tuple[str, ...] | None] = deque()
        self._subscribed = False
        self._silent = False

    def requests(self, data: bytes) -> bytes:
        """Note what is asked; everything goes on as it is."""
        for frame in self._frames("requests", data):
            command = words(frame)
            if command and command[0] in SUBSCRIPTIONS:
                self._subscribed = True
            else:
                self._unanswered.append(self._rules.loses(command))
        return data

    def replies(self, data: bytes) -> bytes:
        """Return what goes on of these replies."""
        return b"".join(self._reply(frame) for frame in self._frames("replies", data))

    def _reply(self, frame: bytes) -> bytes:
        if self._is_push(frame):
            lost = self._rules.drop_messages and words(frame)[0] in _MESSAGES
            return b"" if lost or self._silent else frame
        swallowed = self._unanswered.popleft() if self._unanswered else None
        if swallowed:
            self._rules.swallowed.append(swallowed)
            self._silent = True
        return b"" if self._silent else self._rules.as_shown(frame)

    def _is_push(self, frame: bytes) -> bool:
        """Whether no request asked for it; in RESP 2 a push is an array like any other."""
        if not self._subscribed or frame[:1] != b"*":
            return frame[:1] == b">"
        return (words(frame) or [""])[0] in SUBSCRIPTIONS + _MESSAGES

    def _frames(self, way: str, data: bytes) -> list[bytes]:
        """Return what is whole by now; the rest is kept."""
        found, rest = [], self._incomplete[way] + data
        while end := frame_end(rest):
            found.append(rest[:end])
            rest = rest[end:]
        self._incomplete[way] = rest
        return found


def frame_end(data: bytes, at: int = 0) -> int | None:
    """Return where the RESP value that begins at `at` ends; None while it is incomplete."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, after = data[at : at + 1], line + 2
    if kind in b"$!=":
        length = int(data[at + 1 : line])
        end = after if length < 0 else after + length + 2
        return end if end <= len(data) else None
    if kind in b"*~>%|":
        return _items_end(data, after, count=_items(kind, int(data[at + 1 : line])))
    return after


def _items(kind: bytes, count: int) -> int:
    """Return how many values follow: a map has two an entry, attributes are followed by what they are about."""
    return count * 2 + (kind == b"|") if kind in b"%|" else count


def _items_end(data: bytes, at: int, *, count: int) -> int | None:
    for _ in range(count):
        end = frame_end(data, at)
        if end is None:
            return None
        at = end
    return at


def words(frame: bytes) -> list[str]:
    """Return the first two words of a command or push in capitals, without `_RO`: FCALL_RO is an FCALL."""
    if frame[:1] not in (b"*", b">"):
        return frame.decode(errors="replace").upper().split()[:2]
    found: list[str] = []
    at = frame.index(b"\r\n") + 2
    while at < len(frame) and len(found) < 2:
        end = frame_end(frame, at) or len(frame)
        word = frame[at:end].rstrip(b"\r\n").split(b"\r\n")[-1].decode(errors="replace").upper()
        found.append(word.removesuffix("_RO"))
        at = end
    return found


def _bulk(value: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value.encode()), value.encode())
