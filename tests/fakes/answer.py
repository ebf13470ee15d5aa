"""One call of the fake model server and its streamed answer."""

import asyncio
import itertools
import time
from typing import Protocol

import msgspec

from tests.fakes.dialects import Dialect, Ending
from tests.fakes.script import ENDLESS_DELAY_S, Script, wanted, words


class Wire(Protocol):
    """What an answer needs of the connection it is written to."""

    full: bool

    def head(self, kind: str, status: int = 200) -> None:
        """Send the status line and headers."""

    def chunk(self, data: bytes) -> None:
        """Send one HTTP chunk; an empty one ends the answer."""

    def done(self) -> None:
        """Note that the answer went out whole."""

    def cut(self) -> None:
        """Hang up."""


class Call(msgspec.Struct, kw_only=True):
    """One model call as the provider saw it; times are the provider's monotonic clock."""

    idem_key: str
    trace_id: str
    message: str
    messages: int
    prompt: list[str]
    """The whole of it, a line a message: its role and its text."""
    results: list[str]
    """What came of tools since the message."""
    tools: list[str]
    """Names of the tools it was told of."""
    model: str
    max_tokens: int | None
    authorised: bool
    started: float
    first: float | None = None
    ended: float | None = None
    tokens: int = 0
    status: int = 200
    finished: bool = False
    aborted: bool = False


class Answer:
    """One streamed answer: a timer that writes a word each time it rings."""

    def __init__(self, wire: Wire, call: Call, script: Script, dialect: Dialect) -> None:
        self._wire, self._call, self._script, self._dialect = wire, call, script, dialect
        limit = None if script.endless else call.max_tokens
        self._wanted = wanted(script, call.results, call.tools)
        said = () if self._wanted else words(script, call.message, call.results)
        self._words = itertools.islice(said, limit)
        self._delay = script.delay or (ENDLESS_DELAY_S if script.endless else 0.0)
        self._asked = len(call.message.split())
        self._ends = {script.hang_after: self._hang, script.break_after: wire.cut}
        self._ends |= {
            script.end_after: self._end,
            script.error_after: self._fail,
            script.garbage_after: self._garble,
        }
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time() + script.first
        self._timer: asyncio.TimerHandle = self._loop.call_at(self._next, self._open)

    def stop(self) -> None:
        """Say nothing more."""
        self._timer.cancel()

    def _open(self) -> None:
        self._wire.head("text/event-stream")
        self._wire.chunk(self._dialect.opening(self._asked))
        self._say()

    def _say(self) -> None:
        # Due times, not gaps: a late ring does not slow the whole answer.
        call = self._call
        if call.tokens in self._ends:
            return self._ends[call.tokens]()
        word = next(self._words, None)
        if word is None:
            return self._close()
        if not self._wire.full:
            self._wire.chunk(self._dialect.word(word))
            call.first = call.first or time.monotonic()
            call.tokens += 1
        else:
            self._words = itertools.chain([word], self._words)  # type: ignore[assignment]
        self._next += self._delay or 0.0
        self._timer = self._loop.call_at(self._next if self._delay else self._loop.time(), self._say)
        return None

    def _close(self) -> None:
        script, call = self._script, self._call
        cut = not (script.echo or script.quote or self._wanted) and script.tokens > call.tokens
        if self._wanted:
            self._wire.chunk(self._dialect.tool_call(f"provider_{len(call.results)}", *self._wanted))
        reason: Ending = "length" if cut else "tool_calls" if self._wanted else "stop"
        self._wire.chunk(self._dialect.closing(self._asked, call.tokens, reason))
        self._end()

    def _end(self) -> None:
        self._wire.chunk(b"")
        self._wire.done()

    def _hang(self) -> None:
        pass

    def _fail(self) -> None:
        self._wire.chunk(self._dialect.stream_error())
        self._end()

    def _garble(self) -> None:
        self._wire.chunk(b"data: {not json at all\n\n")
        self._end()
