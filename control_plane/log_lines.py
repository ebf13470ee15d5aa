"""A program's log for people: JSON lines as fields, everything else as it is."""

import json
import re
from collections.abc import AsyncIterator

import msgspec

LEVELS = ("debug", "info", "warning", "error", "critical")
_MOMENT = re.compile(r"[0-9T:.+Z-]{1,40}", re.ASCII)
_SHOWN_APART = ("timestamp", "level", "event", "exception", "agent", "program")


class LogLine(msgspec.Struct, frozen=True):
    """One line."""

    event: str
    at: str = ""
    """UTC, ISO 8601; '' in a line that is no JSON."""
    level: str = "info"
    facts: tuple[tuple[str, str], ...] = ()
    trace: str = ""

    @property
    def time(self) -> str:
        """The time of day."""
        return self.at[11:23]


class Wanted(msgspec.Struct, frozen=True):
    """What is looked for: lines of at least a level that contain a text."""

    level: str = "debug"
    text: str = ""

    def lets(self, raw: str, line: LogLine) -> bool:
        """Whether a line is shown."""
        least = LEVELS.index(self.level) if self.level in LEVELS else 0
        has = LEVELS.index(line.level) if line.level in LEVELS else 1
        return has >= least and self.text.lower() in raw.lower()


def read(raw: str) -> LogLine:
    """Return a line with its fields; a line that is no JSON object is its own event.

    Anybody may have written it: what no page could be encoded with is replaced, and a moment is one or nothing.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return LogLine(_plain(raw))
    facts = tuple((_plain(name), _plain(value)) for name, value in found.items() if name not in _SHOWN_APART)
    at = found.get("timestamp", "")
    return LogLine(
        _plain(found.get("event", "")), at if isinstance(at, str) and _MOMENT.fullmatch(at) else "",
        _plain(found.get("level", "info")), facts, _plain(found.get("exception", "")),
    )  # fmt: skip


async def newer(lines: AsyncIterator[str], seen: str) -> AsyncIterator[str]:
    """Pass on what was written after the moment `seen` (ISO 8601; '' = everything)."""
    caught_up = not seen
    async for raw in lines:
        caught_up = caught_up or read(raw).at > seen
        if caught_up:
            yield raw


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode(errors="replace").decode()
