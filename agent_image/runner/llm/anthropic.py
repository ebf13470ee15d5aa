"""Claude over the official SDK, with its own retries off: the router alone decides what is tried again."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from agent_image.runner.llm import faults
from agent_image.runner.llm.base import ChatMessage, Chunk, Finish, ModelRequest, Part, ToolCall, Usage, estimate
from appliance.core.errors import ModelError
from appliance.core.settings import Settings

if TYPE_CHECKING:
    from anthropic import APIStatusError, AsyncAnthropic

OFFICIAL_URL = "https://api.anthropic.com"
FINISH_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


class ClaudeClient:
    """A `ModelClient` for one Claude model."""

    def __init__(self, settings: Settings) -> None:
        self.name = f"claude/{settings.anthropic_model}"
        self._settings = settings
        self._sdk: AsyncAnthropic | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Part, None]:
        """Yield the answer and then one `Finish`; see `ModelClient`."""
        sdk = self._sdk or await self._connect()
        reading = _Reading()
        with self._translated():
            answer = await sdk.messages.create(**self._arguments(request), stream=True)
            async with answer:
                async for event in answer:
                    text = reading.feed(event)
                    if text:
                        yield Chunk(text)
            if not reading.finish_reason:
                raise faults.broke(self.name)
        for call in reading.calls:
            yield call
        yield Finish(reading.usage or estimate(request, reading.pieces), reading.finish_reason)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._sdk:
            await self._sdk.close()

    async def _connect(self) -> "AsyncAnthropic":
        # Importing takes more than a second, so: only when needed, and beside the event loop.
        module = await asyncio.to_thread(import_module, "anthropic")
        settings = self._settings
        self._sdk = self._sdk or module.AsyncAnthropic(
            api_key=settings.anthropic_api_key.get_secret_value(),
            base_url=settings.anthropic_url or OFFICIAL_URL,
            max_retries=0,
            timeout=httpx2.Timeout(settings.model_silence_timeout, connect=settings.model_connect_timeout),
        )
        return self._sdk

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        system = "\n\n".join(m.text for m in request.messages if m.role == "system")
        arguments: dict[str, Any] = {
            "model": self._settings.anthropic_model,
            "max_tokens": request.max_tokens,
            "messages": _messages(request),
            "extra_headers": {"Idempotency-Key": request.idem_key, "X-Trace-Id": request.trace_id},
        }
        if request.tools:
            arguments["tools"] = [
                {"name": it.name, "description": it.description, "input_schema": it.parameters} for it in request.tools
            ]
        return arguments | ({"system": system} if system else {})

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # `from None`: the SDK's errors hold the request, and with it the key.
        import anthropic

        try:
            yield
        except ModelError:
            raise
        except anthropic.APIStatusError as error:
            raise self._by_status(error) from None
        except (anthropic.APIConnectionError, httpx2.TransportError) as error:
            raise self._by_transport(error) from None
        except (anthropic.AnthropicError, httpx2.HTTPError, ValueError):
            raise faults.broke(self.name) from None

    def _by_status(self, error: "APIStatusError") -> ModelError:
        if error.status_code < 400:  # an error said inside a stream that began well
            return faults.broke(self.name)
        secret = self._settings.anthropic_api_key.get_secret_value()
        body, wait = msgspec.json.encode(error.body), error.response.headers.get("retry-after")
        return faults.by_status(self.name, error.status_code, body, wait, secret=secret)

    def _by_transport(self, error: Exception) -> ModelError:
        cause = error if isinstance(error, httpx2.TransportError) else error.__cause__
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return faults.away(self.name)
        if isinstance(cause, httpx2.TimeoutException):
            return faults.silent(self.name, self._settings.model_silence_timeout)
        return faults.broke(self.name)


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    """Return messages in Anthropic's words: what came of calls is one message of the user's."""
    said: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "tool":
            block = {"type": "tool_result", "tool_use_id": message.answers, "content": message.text}
            if said and isinstance(said[-1]["content"], list) and said[-1]["role"] == "user":
                said[-1]["content"].append(block)
            else:
                said.append({"role": "user", "content": [block]})
        elif message.role != "system":
            said.append({"role": message.role, "content": _blocks(message) if message.calls else message.text})
    return said


def _blocks(message: ChatMessage) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": message.text}] if message.text.strip() else []
    calls = [{"type": "tool_use", "id": it.id, "name": it.name, "input": _object(it.arguments)} for it in message.calls]
    return [*text, *calls]


def _object(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {}  # what was wrong with it is told by its result


class _Reading:
    """Folds the events of one answer."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self.usage: Usage | None = None
        self.pieces = 0
        self.calls: list[ToolCall] = []
        self._asked = 0

    def feed(self, event: Any) -> str:
        """Take in one event of the SDK; return the text in it."""
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            self.pieces += 1
            return str(event.delta.text)
        if event.type == "content_block_start" and event.content_block.type == "tool_use":
            self.calls.append(ToolCall(event.content_block.id, event.content_block.name, ""))
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            call = self.calls[-1]
            self.calls[-1] = ToolCall(call.id, call.name, call.arguments + event.delta.partial_json)
        elif event.type == "message_start":
            self._asked = event.message.usage.input_tokens
        elif event.type == "message_delta":
            self.usage = Usage(self._asked, event.usage.output_tokens)
            reason = event.delta.stop_reason or "stop"
            self.finish_reason = FINISH_REASONS.get(reason, reason)
        return ""
