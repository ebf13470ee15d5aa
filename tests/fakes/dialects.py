"""The two ways to say the same answer over HTTP: OpenAI's and Anthropic's. Bytes in, bytes out, no I/O."""

from typing import Any, Literal, Protocol

import msgspec

encode = msgspec.json.encode
Ending = Literal["stop", "length", "tool_calls"]


class Dialect(Protocol):
    """How one provider words its answers."""

    def opening(self, asked: int) -> bytes:
        """Return what is streamed before the first word."""

    def word(self, text: str) -> bytes:
        """Return one streamed word."""

    def tool_call(self, id_: str, name: str, arguments: str) -> bytes:
        """Return one call of a tool, in several pieces."""

    def closing(self, asked: int, said: int, reason: Ending) -> bytes:
        """Return what is streamed after the last word, with the usage."""

    def whole(self, text: str, asked: int, said: int, *, cut: bool) -> bytes:
        """Return the unstreamed answer."""

    def error(self, status: int) -> bytes:
        """Return the body of an error."""

    def stream_error(self) -> bytes:
        """Return an error said in the middle of a stream."""


class OpenAI:
    """`/v1/chat/completions` as llama.cpp, Ollama and vLLM speak it."""

    def __init__(self, model: str, *, usage: bool) -> None:
        self._usage = usage
        self._frame = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 0, "model": model}
        self._before, _, self._after = self._chunk({"content": "\0"}).partition(encode("\0"))

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + encode({**self._frame, "choices": [choice]}) + b"\n\n"

    def opening(self, asked: int) -> bytes:
        """Return the chunk that names the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def word(self, text: str) -> bytes:
        """Return one chunk."""
        return self._before + encode(text) + self._after

    def tool_call(self, id_: str, name: str, arguments: str) -> bytes:
        """Return the id and name, then the arguments in two halves."""
        half = len(arguments) // 2
        first = {"index": 0, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
        rest = [{"index": 0, "function": {"arguments": piece}} for piece in (arguments[:half], arguments[half:])]
        return b"".join(self._chunk({"tool_calls": [call]}) for call in (first, *rest))

    def closing(self, asked: int, said: int, reason: Ending) -> bytes:
        """Return the finish reason, the usage if it was asked for, and the end mark."""
        parts = [self._chunk({}, reason)]
        if self._usage:
            parts.append(b"data: " + encode({**self._frame, "choices": [], "usage": _usage(asked, said)}) + b"\n\n")
        return b"".join([*parts, b"data: [DONE]\n\n"])

    def whole(self, text: str, asked: int, said: int, *, cut: bool) -> bytes:
        """Return a `chat.completion`."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        frame = {**self._frame, "object": "chat.completion"}
        return encode({**frame, "choices": [choice], "usage": _usage(asked, said)})

    def error(self, status: int) -> bytes:
        """Return an error as OpenAI words it."""
        return encode({"error": {"message": f"scripted error {status}", "type": "scripted", "code": status}})

    def stream_error(self) -> bytes:
        """Return an error as llama.cpp and vLLM send it inside a stream."""
        return b"data: " + self.error(500) + b"\n\n"


class Anthropic:
    """`/v1/messages` as Claude speaks it."""

    def __init__(self, model: str) -> None:
        self._message = {"id": "msg_fake", "type": "message", "role": "assistant", "model": model}

    def _event(self, kind: str, **body: object) -> bytes:
        return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **body}) + b"\n\n"

    def opening(self, asked: int) -> bytes:
        """Return the start of the message with its input tokens."""
        start: dict[str, Any] = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _claude_usage(asked, 1),
        }
        block = {"type": "text", "text": ""}
        return self._event("message_start", message={**self._message, **start}) + self._event(
            "content_block_start", index=0, content_block=block
        )

    def word(self, text: str) -> bytes:
        """Return one text delta."""
        return self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def tool_call(self, id_: str, name: str, arguments: str) -> bytes:
        """Return a block of its own, its input in two halves."""
        half = len(arguments) // 2
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        start = self._event("content_block_start", index=1, content_block=block)
        pieces = [
            self._event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": piece})
            for piece in (arguments[:half], arguments[half:])
        ]
        return b"".join([start, *pieces, self._event("content_block_stop", index=1)])

    def closing(self, asked: int, said: int, reason: Ending) -> bytes:
        """Return the stop reason and the output tokens."""
        words = {"length": "max_tokens", "tool_calls": "tool_use", "stop": "end_turn"}
        delta = {"stop_reason": words[reason], "stop_sequence": None}
        stop = self._event("content_block_stop", index=0)
        return (
            stop
            + self._event("message_delta", delta=delta, usage={"output_tokens": said})
            + self._event("message_stop")
        )

    def whole(self, text: str, asked: int, said: int, *, cut: bool) -> bytes:
        """Return a whole message."""
        content = [{"type": "text", "text": text}]
        end = {"stop_reason": "max_tokens" if cut else "end_turn", "stop_sequence": None}
        return encode({**self._message, **end, "content": content, "usage": _claude_usage(asked, said)})

    def error(self, status: int) -> bytes:
        """Return an error as Anthropic words it."""
        kind = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}.get(status, "api_error")
        return encode({"type": "error", "error": {"type": kind, "message": f"scripted error {status}"}})

    def stream_error(self) -> bytes:
        """Return an `error` event."""
        return self._event("error", error={"type": "overloaded_error", "message": "scripted error"})


def _usage(asked: int, said: int) -> dict[str, int]:
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _claude_usage(asked: int, said: int) -> dict[str, int]:
    return {"input_tokens": asked, "output_tokens": said}
