"""A fake model provider as a real HTTP server: `python -m tests.fakes.models --port 0 [--port-file F]`.

Speaks OpenAI's `/v1/chat/completions` and `/v1/models` and Anthropic's `/v1/messages`, streamed and whole.
What it answers is written in the message (see `script`). Tests look at it and steer it over HTTP too:

    GET /calls      every model call so far: idem_key, message, how far it got, whether the client hung up
    PUT /mode       directives for every call from now on, as plain text: `status=500`, `hang`, `first=2s`
    POST /reset     forget the calls and the mode
    GET /health     200

It is a bare asyncio protocol because benchmarks share the core with it.
"""

import argparse
import asyncio
import itertools
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

from tests.fakes.answer import Answer, Call
from tests.fakes.dialects import Anthropic, Dialect, OpenAI, encode
from tests.fakes.provider import FakeProvider
from tests.fakes.script import Script, expected_text, read, words

__all__ = ["Call", "FakeProvider", "expected_text"]

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
MESSAGE_KEPT = 10_000


class State:
    """What the whole server remembers."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Forget the calls and the mode."""
        self.calls: list[Call] = []
        self.asked: Counter[str] = Counter()
        self.mode = ""

    def script(self, message: str) -> Script:
        """Return what to do with this message now, counting that it was asked."""
        script = read(message, self.mode)
        self.asked[message] += 1
        done_failing = script.fail_times is not None and self.asked[message] > script.fail_times
        return script.healthy() if done_failing else script


class Connection(asyncio.Protocol):
    """One client connection: reads whole requests, answers them one at a time."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.full = False
        self._buffer = b""
        self._call: Call | None = None
        self._answer: Answer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client hung up, if it did so before the answer was over."""
        if self._answer:
            self._answer.stop()
        if self._timer:
            self._timer.cancel()
        if self._call and self._call.ended is None:
            self._call.ended, self._call.aborted = time.monotonic(), True

    def pause_writing(self) -> None:
        """Say nothing while the client does not read."""
        self.full = True

    def resume_writing(self) -> None:
        """Go on."""
        self.full = False

    def data_received(self, data: bytes) -> None:
        """Collect a whole request, then answer it."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        method, path, _ = first.split(" ", 2)
        self._route(method, path.split("?")[0], headers, rest[:length])

    def _route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        state = self.state
        if path.endswith("/chat/completions") or path.endswith("/v1/messages"):
            return self._model_call(path, headers, msgspec.json.decode(body))
        if path.endswith("/v1/models"):
            return self.reply(200, encode({"object": "list", "data": [{"id": state.model, "object": "model"}]}))
        if path == "/calls":
            return self.reply(200, encode(state.calls))
        if path == "/mode" and method == "PUT":
            read("", body.decode())
            state.mode = body.decode()
        elif path == "/reset":
            state.reset()
        return self.reply(200 if path in ("/health", "/mode", "/reset") else 404, b"{}")

    def _model_call(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        message = _last_message(body)
        model = str(body.get("model", ""))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        dialect = Anthropic(model) if path.endswith("/messages") else OpenAI(model, usage=usage)
        self._call = call = _call(headers, body, message)
        self.state.calls.append(call)
        script = self.state.script(message)
        if script.hang:
            return
        if script.no_tools and call.tools:
            self._later(0, 400, encode({"error": {"message": f"{model} does not support tools"}}))
        elif script.status != 200:
            call.status = script.status
            self._later(script.first, script.status, dialect.error(script.status), script.retry_after)
        elif body.get("stream"):
            self._answer = Answer(self, call, script, dialect)
        else:
            self._whole(call, script, dialect)

    def _whole(self, call: Call, script: Script, dialect: Dialect) -> None:
        pieces = list(itertools.islice(words(script, call.message), call.max_tokens))
        call.tokens = len(pieces)
        asked, cut = len(call.message.split()), not script.echo and script.tokens > call.tokens
        body = dialect.whole("".join(pieces), asked, call.tokens, cut=cut)
        self._later(script.first + script.delay * call.tokens, 200, body)

    def _later(self, delay: float, status: int, body: bytes, retry_after: float | None = None) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self.reply, status, body, retry_after)

    def reply(self, status: int, body: bytes, retry_after: float | None = None) -> None:
        """Send a whole answer."""
        self.head("application/json", status, length=len(body), retry_after=retry_after)
        self._transport.write(body)
        self.done()

    def head(
        self, kind: str, status: int = 200, *, length: int | None = None, retry_after: float | None = None
    ) -> None:
        """Send the status line and headers; an answer without a length is sent in chunks."""
        body = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Scripted')}", f"content-type: {kind}", body]
        if retry_after is not None:
            lines.append(f"retry-after: {retry_after:g}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        """Send one HTTP chunk; an empty one ends the answer."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def done(self) -> None:
        """Note that this answer went out whole."""
        if self._call:
            self._call.ended, self._call.finished = time.monotonic(), self._call.status == 200
        self._call = self._answer = None

    def cut(self) -> None:
        """Hang up in the middle of the answer."""
        if self._call:
            self._call.ended = time.monotonic()
        self._transport.close()


def _call(headers: dict[str, str], body: dict[str, Any], message: str) -> Call:
    return Call(
        idem_key=headers.get("idempotency-key", ""),
        trace_id=headers.get("x-trace-id", ""),
        message=message[:MESSAGE_KEPT],
        messages=len(body.get("messages", [])),
        prompt=[f"{it['role']}: {it['content']}"[:MESSAGE_KEPT] for it in body.get("messages", [])],
        results=_results(body),
        tools=[tool.get("function", tool)["name"] for tool in body.get("tools", [])],
        model=str(body.get("model", "")),
        max_tokens=body.get("max_tokens"),
        authorised="authorization" in headers or "x-api-key" in headers,
        started=time.monotonic(),
    )


def _last_message(body: dict[str, Any]) -> str:
    asked = [m["content"] for m in body.get("messages", []) if m.get("role") == "user" and not _are_results(m)] or [""]
    content = asked[-1]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _are_results(message: dict[str, Any]) -> bool:
    """Whether this is Anthropic's way to say what came of calls."""
    content = message["content"]
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def _results(body: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for message in body.get("messages", []):
        if message["role"] == "tool":
            found.append(message["content"])
        elif _are_results(message):
            found += [part["content"] for part in message["content"]]
        elif message["role"] == "user":
            found = []
    return found


async def serve(host: str, port: int, port_file: Path | None, model: str) -> None:
    """Serve until killed; writes the port it got to `port_file`."""
    state = State(model)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), host, port, backlog=1024)
    got = server.sockets[0].getsockname()[1]
    if port_file:
        part = port_file.with_suffix(".part")
        part.write_text(str(got))
        part.replace(port_file)
    await server.serve_forever()


def _end_with_stdin() -> None:
    # Whoever started us holds the other end, so not even a SIGKILL of the test run leaves this server behind.
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> None:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--model", default="fake-model")
    parser.add_argument("--tied", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    if options.tied:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    uvloop.run(serve(options.host, options.port, options.port_file, options.model))


if __name__ == "__main__":
    main()
