"""Local models first, Claude last; a fallback is named with its reason, and a failed model comes back by itself."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec

from agent_image.runner.llm.anthropic import ClaudeClient
from agent_image.runner.llm.base import Chunk, Finish, ModelClient, ModelRequest, Part, Route, ToolCall, Usage, estimate
from agent_image.runner.llm.breaker import Breaker, next_model, why_not_preferred
from agent_image.runner.llm.faults import in_the_middle, request_at_fault
from agent_image.runner.llm.openai import OpenAIClient
from appliance.core import clock, logs
from appliance.core.errors import ModelAway, ModelError
from appliance.core.metrics import MODEL_CALLS, MODEL_FALLBACKS, MODEL_PAUSED, MODEL_TOKENS
from appliance.core.settings import Settings

log = logs.get("models")

NUL, REPLACED = "\x00", "\ufffd"
"""PostgreSQL keeps every character but this one."""
Parts = AsyncGenerator[Part, None]


class ModelState(msgspec.Struct, frozen=True):
    """One model as a page shows it; `reason` says why it is paused."""

    name: str
    paused: bool
    reason: str = ""


class Router:
    """Asks the models in order of preference until one answers.

    Falls back only while nothing of an answer was given out; after that a failure is a `ModelBroke`. A request no model
    would accept (`request_at_fault`) is refused at once.
    """

    def __init__(
        self, clients: Sequence[ModelClient], *, max_chars: int, monotonic: Callable[[], float] = clock.monotonic
    ) -> None:
        self._clients = list(clients)
        self._breakers = [Breaker() for _ in clients]
        for index, client in enumerate(clients):
            self._became(index, Breaker())
            _begin_counting(client.name)
        self._max_chars = max_chars
        self._monotonic = monotonic

    def models(self) -> tuple[ModelState, ...]:
        """Return all models in order of preference, as they stand now."""
        return tuple(
            ModelState(client.name, bool(breaker.retry_at), breaker.reason)
            for client, breaker in zip(self._clients, self._breakers, strict=True)
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Route | Part, None]:
        """Yield a `Route`, the answer, what it wants called, and one `Finish`. Read it inside `contextlib.aclosing`.

        Raises:
            ModelError: no model answers, the request is refused, or (`ModelBroke`) the answer ended in the middle.
        """
        index, parts, part, reason = await self._open(request)
        name, room = self._clients[index].name, Room(self._max_chars, request.max_tokens)
        async with _counted(name, reason), aclosing(parts):
            yield Route(name, reason)
            while not isinstance(part, Finish):
                yield room.fit(part) if isinstance(part, Chunk) else _storable(part)
                if isinstance(part, Chunk) and room.full:
                    await parts.aclose()
                    part = Finish(estimate(request, room.pieces), "cut")
                else:
                    part = await self._next(index, parts)
            self._became(index, Breaker())
            _count_tokens(name, part.usage)
            yield part

    async def aclose(self) -> None:
        """Close the connections of all models."""
        for client in self._clients:
            await client.aclose()

    async def _open(self, request: ModelRequest) -> tuple[int, Parts, Part, str]:
        """Ask one model after the other until one says something."""
        failures: dict[int, ModelError] = {}
        while (index := next_model(self._breakers, failures, self._monotonic())) is not None:
            client = self._clients[index]
            reason = why_not_preferred(self._breakers, index, list(failures.values()), client.name)
            parts = client.stream(request)
            try:
                first = await self._first(index, parts)
            except ModelError as error:
                MODEL_CALLS.labels(client.name, "failed").inc()
                log.warning("model_failed", model=client.name, kind=type(error).__name__, why=error.detail)
                if request_at_fault(error):
                    raise
                failures[index] = error
            else:
                return index, parts, first, reason
        raise _all_failed(list(failures.values()))

    async def _first(self, index: int, parts: Parts) -> Part:
        """Return the first part of a model's answer; what happens decides over its breaker."""
        self._became(index, self._breakers[index].asked())
        try:
            first = await anext(parts)
        except ModelError as error:
            self._became(index, self._breakers[index].failed(error, self._monotonic()))
            raise
        except BaseException:
            self._became(index, self._breakers[index].left())
            raise
        self._became(index, self._breakers[index].answering())
        return first

    def _became(self, index: int, breaker: Breaker) -> None:
        """Keep what is now known of a model."""
        self._breakers[index] = breaker
        MODEL_PAUSED.labels(self._clients[index].name).set(bool(breaker.retry_at))

    async def _next(self, index: int, parts: Parts) -> Part:
        """Return the next part of an answer that was already begun."""
        try:
            return await anext(parts)
        except ModelError as error:
            self._became(index, self._breakers[index].failed(error, self._monotonic()))
            raise in_the_middle(error) from None


@asynccontextmanager
async def _counted(model: str, fallback: str) -> AsyncIterator[None]:
    """Count a call that began to answer by how it ends."""
    if fallback:
        MODEL_FALLBACKS.labels(model).inc()
    outcome = "stopped"
    try:
        yield
        outcome = "done"
    except ModelError:
        outcome = "broke"
        raise
    finally:
        MODEL_CALLS.labels(model, outcome).inc()


def _begin_counting(model: str) -> None:
    """Make the counters known, so that the first call counts as an increase and not as a beginning."""
    MODEL_FALLBACKS.labels(model)
    for outcome in ("done", "failed", "broke", "stopped"):
        MODEL_CALLS.labels(model, outcome)
    _count_tokens(model, Usage(0, 0))


def _count_tokens(model: str, usage: Usage) -> None:
    MODEL_TOKENS.labels(model, "input").inc(usage.input_tokens)
    MODEL_TOKENS.labels(model, "output").inc(usage.output_tokens)


class Room:
    """How much an answer may still say."""

    def __init__(self, chars: int, tokens: int) -> None:
        self._chars, self._tokens = chars, tokens
        self.pieces = 0

    @property
    def full(self) -> bool:
        """Whether the answer must end. A piece is at least a token, so more pieces mean that a limit was ignored."""
        return self._chars <= 0 or self.pieces > self._tokens

    def fit(self, chunk: Chunk) -> Chunk:
        """Return what of this chunk still fits."""
        self.pieces += chunk.pieces
        if NUL in chunk.text:
            chunk = Chunk(chunk.text.replace(NUL, REPLACED), chunk.pieces)
        room = self._chars
        self._chars -= len(chunk.text)
        return chunk if self._chars >= 0 else Chunk(chunk.text[:room], chunk.pieces)


def _storable(call: ToolCall) -> ToolCall:
    """Return a call without the character that no row can keep."""
    return ToolCall(call.id, call.name.replace(NUL, REPLACED), call.arguments.replace(NUL, REPLACED))


def _all_failed(failures: Sequence[ModelError]) -> ModelError:
    """Return the error of the model tried last, telling what happened with every one."""
    if not failures:
        return ModelAway("No model is set up: set MODEL_URL, OLLAMA_URL or ANTHROPIC_API_KEY.")
    last = failures[-1]
    return type(last)(" ".join(error.detail for error in failures), **last.data)


def build_router(settings: Settings) -> Router:
    """Return a router over the models the settings name: Ollama, then MODEL_URL, then Claude."""
    clients: list[ModelClient] = []
    if settings.ollama_url:
        url = settings.ollama_url.removesuffix("/v1") + "/v1"
        clients.append(OpenAIClient(url, settings, model=settings.ollama_model, family="ollama"))
    if settings.model_url:
        key = settings.model_api_key
        clients.append(OpenAIClient(settings.model_url, settings, model=settings.model_name, key=key))
    if settings.anthropic_api_key.get_secret_value():
        clients.append(ClaudeClient(settings))
    return Router(clients, max_chars=settings.model_max_chars)
