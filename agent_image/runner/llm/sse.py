"""Reading the stream of an OpenAI-compatible server: bytes in, text and the end out. Pure, and the hot path."""

from typing import Any

import msgspec

from agent_image.runner.llm.base import Chunk, ToolCall, Usage

LINE_BYTES = 1024 * 1024
"""A longer line is no chat answer."""
CALLS = 32
"""More calls in one answer are none that anybody meant."""


class Unreadable(Exception):
    """The stream is not what an OpenAI-compatible server sends."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Frame(msgspec.Struct, gc=False):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Frame).decode


class ChatStream:
    """Folds the bytes of one answer; what arrived together comes out as one chunk."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self.usage: Usage | None = None
        self.pieces = 0
        self.over = False
        self.error: bytes | None = None
        self._rest = b""
        self._calls: dict[int, list[str]] = {}

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """What the answer wants called, in its order, once it is complete."""
        return tuple(ToolCall(*self._calls[index]) for index in sorted(self._calls))

    @property
    def complete(self) -> bool:
        """Whether the server said that this is the end, rather than just stopping."""
        return self.over or bool(self.finish_reason)

    def feed(self, data: bytes) -> Chunk | None:
        """Take in what arrived; return the text in it, if any.

        Raises:
            Unreadable: it is no chat stream.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            raise Unreadable
        texts = [text for line in lines if line.startswith(b"data:") and (text := self._frame(line[5:].strip()))]
        self.pieces += len(texts)
        return Chunk("".join(texts), len(texts)) if texts else None

    def _frame(self, payload: bytes) -> str:
        if payload == b"[DONE]":
            self.over = True
            return ""
        try:
            frame = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unreadable from None
        if frame.error:
            self.error = payload
        if frame.usage:
            self.usage = Usage(frame.usage.prompt_tokens, frame.usage.completion_tokens)
        if not frame.choices:
            return ""
        self.finish_reason = frame.choices[0].finish_reason or self.finish_reason
        delta = frame.choices[0].delta
        if delta.tool_calls:
            self._gather(delta.tool_calls)
        return delta.content or ""

    def _gather(self, calls: list[_Call]) -> None:
        """Add the pieces of calls: the first one of each has its id and name, the rest of its arguments follows."""
        for call in calls:
            whole = self._calls.setdefault(call.index, ["", "", ""])
            whole[0] = call.id or whole[0]
            whole[1] = call.function.name or whole[1]
            whole[2] += call.function.arguments or ""
            if len(self._calls) > CALLS or len(whole[2]) > LINE_BYTES:
                raise Unreadable
