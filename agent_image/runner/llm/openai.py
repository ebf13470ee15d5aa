"""Models behind an OpenAI-compatible server: the bundled llama.cpp, Ollama, vLLM."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
from pydantic import SecretStr

from agent_image.runner.llm import faults
from agent_image.runner.llm.base import ChatMessage, Finish, ModelRequest, Part, estimate, is_weak
from agent_image.runner.llm.sse import ChatStream, Unreadable
from agent_image.runner.llm.wire import Answer, HungUp, Silence, Unreachable, Wire
from appliance.core.errors import ModelError, ModelRefused
from appliance.core.settings import Settings

ERROR_BYTES = 64 * 1024
NO_KEY = SecretStr("")


class OpenAIClient:
    """A `ModelClient` for one OpenAI-compatible server and one of its models."""

    def __init__(self, url: str, settings: Settings, *, model: str, family: str = "", key: SecretStr = NO_KEY) -> None:
        """`url` ends in /v1; without a `model` the first one the server lists is taken, at the first call."""
        self._family, self._model, self._key = family, model, key
        self._knows_tools = not is_weak(model)
        self._silence_s = settings.model_silence_timeout
        secret = key.get_secret_value()
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        times = {"connect_s": settings.model_connect_timeout, "silence_s": self._silence_s}
        self._wire = Wire(url, headers, **times)

    @property
    def name(self) -> str:
        """`family/model`, as far as both are known."""
        return "/".join(part for part in (self._family, self._model) if part)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Part, None]:
        """Yield the answer and then one `Finish`; see `ModelClient`."""
        reading = ChatStream()
        with self._translated():
            async with self._answering(request) as answer:
                while not reading.over and (data := await answer.read()):
                    chunk = reading.feed(data)
                    if chunk:
                        yield chunk
                    self._check_stream(reading)
            if not reading.complete:
                raise faults.broke(self.name)
        for call in reading.calls:
            yield call
        yield Finish(reading.usage or estimate(request, reading.pieces), reading.finish_reason or "stop")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._wire.aclose()

    @asynccontextmanager
    async def _answering(self, request: ModelRequest) -> AsyncIterator[Answer]:
        """Ask; once more without tools if this model turns out to know none, and never with them again."""
        headers = {"Idempotency-Key": request.idem_key, "X-Trace-Id": request.trace_id}
        model = self._model or await self._first_listed()
        if request.tools and self._knows_tools:
            async with self._wire.request("POST", "/chat/completions", self._body(request, model), headers) as answer:
                error = await self._error(answer)
                if error is None:
                    yield answer
                    return
                if error.data.get("http") != 400 or "tool" not in error.detail.lower():
                    raise error
            self._knows_tools = False
        body = self._body(msgspec.structs.replace(request, tools=()), model)
        async with self._wire.request("POST", "/chat/completions", body, headers) as answer:
            await self._check(answer)
            yield answer

    def _body(self, request: ModelRequest, model: str) -> bytes:
        body: dict[str, Any] = {
            "model": model,
            "messages": [_message(it) for it in request.messages],
            "max_tokens": request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body["tools"] = [{"type": "function", "function": msgspec.to_builtins(it)} for it in request.tools]
        return msgspec.json.encode(body)

    async def _first_listed(self) -> str:
        async with self._wire.request("GET", "/models") as answer:
            await self._check(answer)
            listed = msgspec.json.decode(await _whole(answer), type=_Models)
        if not listed.data:
            raise ModelRefused(f"{self.name} has no model yet; load one, then ask again.", http=404)
        self._model = listed.data[0].id
        return self._model

    async def _check(self, answer: Answer) -> None:
        if error := await self._error(answer):
            raise error

    async def _error(self, answer: Answer) -> ModelError | None:
        if answer.status == 200:
            return None
        body, wait = await _whole(answer), answer.headers.get("retry-after")
        return faults.by_status(self.name, answer.status, body, wait, secret=self._key.get_secret_value())

    def _check_stream(self, reading: ChatStream) -> None:
        if reading.error:
            raise faults.broke(self.name)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # `from None`: what lies below may hold the request, and with it the key.
        try:
            yield
        except ModelError:
            raise
        except Unreachable:
            raise faults.away(self.name) from None
        except Silence:
            raise faults.silent(self.name, self._silence_s) from None
        except (HungUp, Unreadable, msgspec.DecodeError):
            raise faults.broke(self.name) from None


def _message(message: ChatMessage) -> dict[str, Any]:
    """Return a message in OpenAI's words."""
    plain = {"role": message.role, "content": message.text}
    if message.role == "tool":
        return plain | {"tool_call_id": message.answers}
    if not message.calls:
        return plain
    calls = [
        {"id": it.id, "type": "function", "function": {"name": it.name, "arguments": it.arguments}}
        for it in message.calls
    ]
    return plain | {"content": message.text or None, "tool_calls": calls}


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def _whole(answer: Answer) -> bytes:
    body = b""
    while len(body) < ERROR_BYTES and (data := await answer.read()):
        body += data
    return body
