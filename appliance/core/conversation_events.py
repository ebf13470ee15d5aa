"""What a client of a conversation sees: an append-only stream with a cursor that survives everything (PROTOCOLS 8)."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from appliance.core.keys import EVENTS_MAX, EVENTS_TTL_S
from appliance.core.records import Event
from appliance.core.redis import BLOCK_S, Redis, answering

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Position(msgspec.Struct, frozen=True):
    """Where a conversation's stream stands; ids are '' when it is empty."""

    generation: str
    first: str
    last: str
    turn_start: str

    def cursor(self, stream_id: str) -> str:
        """Return the client's cursor for a stream id of this generation."""
        return f"{self.generation}-{stream_id or '0-0'}"


class Opened(msgspec.Struct, frozen=True):
    """What `open_attempt` found."""

    cursor: str
    """The place just before the attempt's first event; '' when it has none."""
    gap_ms: int
    """Milliseconds since the conversation's last event, -1 when there was none."""
    agent_before: str


class ConversationEvents:
    """Append to and read from the event streams of conversations."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keys = redis.keys

    async def open_attempt(
        self,
        conversation: str,
        turn: str,
        attempt: int,
        *,
        agent: str,
        mode: Literal["open", "resume"] = "open",
        first: tuple[str, dict[str, Any]] | None = None,
    ) -> Opened:
        """Make `attempt` the one that may append; afterwards no older one can.

        `first` is the event an attempt begins with; of an attempt above 1 it is given the gap and the agent before.

        Raises:
            StaleAttempt: a later attempt was opened. NoGeneration, StoreAway: try again soon.
        """
        kind, data = first or ("", {})
        generation, gap_ms, agent_before, first_id = await self._redis.call(
            "open_attempt",
            self._of(conversation),
            [self._keys.generation, turn, attempt, agent, EVENTS_TTL_S, EVENTS_MAX, mode, kind, _encode(data)],
        )
        cursor = f"{generation}-{before(first_id)}" if first_id else ""
        return Opened(cursor=cursor, gap_ms=int(gap_ms), agent_before=agent_before)

    async def append(
        self, conversation: str, turn: str, attempt: int, events: Sequence[tuple[str, dict[str, Any]]]
    ) -> None:
        """Append events of the attempt that was opened last.

        Raises:
            StaleAttempt: another attempt is current. NoAttempt: Redis lost it; re-read the row and resume.
        """
        args: list[str | int | float | bytes] = [self._keys.generation, turn, attempt, EVENTS_TTL_S, EVENTS_MAX]
        for kind, data in events:
            args += [kind, _encode(data)]
        await self._redis.call("append", self._of(conversation), args)

    async def position(self, conversation: str, turn: str = "") -> Position:
        """Return where the stream stands, and where `turn`'s events begin."""
        keys = [*self._of(conversation), self._keys.generation]
        generation, first, last, start = await self._redis.call("position", keys, [turn], reads=True)
        return Position(generation=generation, first=first, last=last, turn_start=before(start) if start else "")

    async def since(self, conversation: str, generation: str, stream_id: str) -> list[Event]:
        """Return all events after `stream_id`."""
        async with answering():
            entries: Any = await self._redis.data.xrange(self._keys.events(conversation), min=f"({stream_id}")
        return [_event(generation, entry_id, fields) for entry_id, fields in entries]

    async def read(self, positions: dict[str, str]) -> dict[str, list[tuple[str, dict[str, str]]]]:
        """Block up to a second for entries behind `positions` (stream key → id)."""
        async with answering():
            found = await self._redis.block.xread(positions, block=int(BLOCK_S * 1000))  # type: ignore[arg-type]
        return {name: [tuple(entry) for entry in entries] for name, entries in _pairs(found)}

    def stream(self, conversation: str) -> str:
        """Return the key of a conversation's stream, as `read` wants it."""
        return self._keys.events(conversation)

    def _of(self, conversation: str) -> list[str]:
        return [self._keys.events(conversation), self._keys.attempts(conversation)]


def event(generation: str, entry: tuple[str, dict[str, str]]) -> Event:
    """Return the record of one stream entry."""
    return _event(generation, *entry)


def _event(generation: str, entry_id: str, fields: dict[str, str]) -> Event:
    return Event(
        type=fields["t"],
        cursor=f"{generation}-{entry_id}",
        turn=fields["turn"],
        attempt=int(fields["n"]),
        data=_decode(fields["d"]),
    )


def _pairs(found: Any) -> Any:
    return found.items() if isinstance(found, dict) else found or ()


def before(stream_id: str) -> str:
    """Return the largest stream id below `stream_id`, since reads are exclusive."""
    milliseconds, sequence = (int(part) for part in stream_id.split("-"))
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"


def parse_cursor(cursor: str) -> tuple[str, str] | None:
    """Split a client's cursor into generation and stream id; None when it is not one."""
    generation, _, stream_id = cursor.partition("-")
    milliseconds, _, sequence = stream_id.partition("-")
    if generation.isalnum() and milliseconds.isdigit() and sequence.isdigit() and len(cursor) < 100:
        return generation, stream_id
    return None


def is_known(cursor: tuple[str, str], position: Position) -> bool:
    """Whether reading can go on after `cursor`: same generation, not trimmed away, not above the last entry."""
    generation, stream_id = cursor
    if generation != position.generation:
        return False
    if not position.last:
        return stream_id == "0-0"
    # One entry before the first one is still complete: nothing is missing between the two.
    oldest = "0-0" if position.first == "" else before(position.first)
    return _key(oldest) <= _key(stream_id) <= _key(position.last) or stream_id == "0-0"


def _key(stream_id: str) -> tuple[int, int]:
    milliseconds, sequence = stream_id.split("-")
    return int(milliseconds), int(sequence)
