"""What a model client promises, and the records that go in and out of it."""

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol

import msgspec

_TOO_SMALL = "bundled/"


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model is told of it; `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True):
    """What a model wants called; `arguments` is the JSON it wrote, right or wrong."""

    id: str
    name: str
    arguments: str


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of the conversation as the model sees it. `tool` is what came of a call: of the id `answers`."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


class ModelRequest(msgspec.Struct, frozen=True):
    """One model call; `idem_key` is the key of its step, the same however often it is tried."""

    messages: tuple[ChatMessage, ...]
    max_tokens: int
    idem_key: str
    trace_id: str = ""
    tools: tuple[ToolSpec, ...] = ()


class Route(msgspec.Struct, frozen=True):
    """Which model answers; `reason` is empty for the preferred one, else a sentence for people."""

    model: str
    reason: str = ""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer. `pieces` says in how many parts the provider sent it: at most its tokens."""

    text: str
    pieces: int = 1


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call; `estimated` if the provider did not say."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False


class Finish(msgspec.Struct, frozen=True):
    """The end of an answer. Reasons: `stop`, `length` (its limit), `cut` (Nexus ended an endless answer)."""

    usage: Usage
    finish_reason: str


Part = Chunk | ToolCall | Finish


class ModelClient(Protocol):
    """One model at one provider."""

    @property
    def name(self) -> str:
        """What people call it, for example `ollama/llama3`; may become more exact with the first call."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Part, None]:
        """Yield the answer, what it wants called, and then one `Finish`; nothing is retried.

        Closing the generator, or cancelling the task that reads it, ends the HTTP call at once. Leave a loop over it
        early only inside `contextlib.aclosing`.

        Raises:
            ModelError: with a sentence for people as `detail`.
        """

    async def aclose(self) -> None:
        """Close all connections."""


def is_weak(model: str) -> bool:
    """Whether a model is too small to sum up what it reads, and to call tools, of which its server wants no word."""
    return model.startswith(_TOO_SMALL)


def estimate(request: ModelRequest, pieces: int) -> Usage:
    """Return a usage for an answer whose provider told none: four characters are about a token."""
    return Usage(sum(len(message.text) for message in request.messages) // 4, pieces, estimated=True)
