"""What an MCP server says, in the words of Nexus. Pure."""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from appliance.core.task_ledger import Effect

MAX_NAME = 64
_HASH = 8


class Hints(NamedTuple):
    """What a server says that a tool changes; None where it says nothing."""

    reads_only: bool | None = None
    idempotent: bool | None = None
    destructive: bool | None = None


class Described(NamedTuple):
    """A tool as its server describes it; `schema` is a JSON schema."""

    name: str
    text: str
    schema: dict[str, Any]
    hints: Hints


def tool_name(server: str, tool: str) -> str:
    """Return the name under which models know a tool: letters, digits, dash, underscore, 64 at most."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{server}_{tool}")
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(f"{server}_{tool}".encode()).hexdigest()[:_HASH]
    return f"{name[: MAX_NAME - _HASH - 1]}_{digest}"


def effect_of(hints: Hints) -> Effect:
    """Return what a call changes; who does not say, changes something."""
    if hints.reads_only:
        return "pure"
    return "idempotent" if hints.idempotent else "side_effecting"


def asks_first(hints: Hints, *, approval: bool) -> bool:
    """Whether a person is asked before a call: also of one that may be repeated, if it says that it destroys."""
    effect = effect_of(hints)
    return approval and (effect == "side_effecting" or (effect == "idempotent" and hints.destructive is True))


def parameters_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as providers want it: of type object, with properties."""
    return {"type": "object", "properties": {}} | schema


def text_of(content: Iterable[Any], structured: object) -> str:
    """Return what a model reads of a result; what is no text is named."""
    parts = [_part(block) for block in content]
    if not parts and structured is not None:
        return msgspec.json.encode(structured).decode()
    return "\n".join(parts)


def _part(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "resource_link":
            return f"({block.name}: {block.uri})"
        case "resource":
            return str(getattr(block.resource, "text", f"({block.resource.uri}: not text, left out)"))
    return f"({block.type}, {getattr(block, 'mime_type', 'unknown')}: not text, left out)"
