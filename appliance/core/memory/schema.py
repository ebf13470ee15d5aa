"""What stands in the index of memories: its fields, a memory as a document, and what indexes are called. Pure.

Documents are hashes with the vector as float32 bytes: 4 bytes a dimension, where JSON would hold numbers as text.
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, Self
from urllib.parse import quote, unquote

from appliance.core.errors import BadInput
from appliance.core.memory.items import Memory
from appliance.core.memory.words import unlike_ascii
from appliance.core.vectors import Vector, dimensions

MAX_DIMENSIONS = 8192
Field = Literal["text", "tag", "numeric"]
FIELDS: Mapping[str, Field] = {
    "id": "text", "text": "text", "words": "text", "tenant": "tag", "user_id": "tag", "conv_id": "tag",
    "agent_id": "tag", "memory_type": "tag", "topics": "tag", "trust": "tag", "pinned": "tag",
    "created_at": "numeric", "confidence": "numeric", "version": "numeric",
}  # fmt: skip
"""All but the vector. `words`: those of `text` that RediSearch would not find there."""
VECTOR = "embedding"
GRAPH = {"M": 16, "EF_CONSTRUCTION": 200}
"""Of the HNSW graph (Malkov and Yashunin 2018); the module's own defaults are the same."""
_NAME = re.compile(r"(?P<model>[^@:]+)-(?P<dims>[1-9][0-9]{0,3})(?:@(?P<build>[1-9][0-9]*))?")
_TAG_SEPARATOR = ","


class IndexName(NamedTuple):
    """The index of one embedding model; `build` rises each time it is made anew from rows."""

    model: str
    dims: int
    build: int = 0

    def __str__(self) -> str:
        return f"{quote(self.model, safe='')}-{self.dims}" + (f"@{self.build}" if self.build else "")

    @classmethod
    def read(cls, name: str) -> Self | None:
        """Return what a name says; None when it is none of ours."""
        found = _NAME.fullmatch(name)
        if found is None or int(found["dims"]) > MAX_DIMENSIONS:
            return None
        return cls(unquote(found["model"]), int(found["dims"]), int(found["build"] or 0))


def definition(key: str, dims: int) -> list[str | int]:
    """Return the arguments of FT.CREATE: no stemming and no stop words, since nobody knows a memory's language."""
    fields: list[str | int] = []
    for name, kind in FIELDS.items():
        fields += [name, kind.upper(), *(["NOSTEM"] if kind == "text" else [])]
    graph = [it for pair in GRAPH.items() for it in pair]
    vector = ["TYPE", "FLOAT32", "DIM", dims, "DISTANCE_METRIC", "COSINE", *graph]
    fields += [VECTOR, "VECTOR", "HNSW", len(vector), *vector]
    return [key, "ON", "HASH", "PREFIX", 1, f"{key}:", "STOPWORDS", 0, "SCHEMA", *fields]


def document(memory: Memory, vector: Vector | None, dims: int) -> dict[str, str | int | float | bytes]:
    """Return a memory as a document; without a vector it is found by its words.

    Raises:
        BadInput: the vector has other dimensions than the index, which would take it in silence and never find it.
    """
    if vector is not None and dimensions(vector) != dims:
        raise BadInput(f"The index holds vectors of {dims} dimensions; this one has {dimensions(vector)}.")
    origin = memory.origin
    fields: dict[str, str | int | float | bytes] = {
        "id": memory.id, "text": memory.text, "words": " ".join(unlike_ascii(memory.text)),
        "tenant": memory.tenant_id, "user_id": memory.user_id, "conv_id": origin.conversation_id or "",
        "agent_id": origin.agent, "memory_type": memory.type, "trust": memory.trust, "pinned": int(memory.pinned),
        "topics": _TAG_SEPARATOR.join(tag(it) for it in memory.topics),
        "created_at": int(memory.created_at.timestamp() * 1000), "confidence": memory.confidence,
        "version": memory.version,
    }  # fmt: skip
    return fields if vector is None else fields | {VECTOR: vector}


def tag(topic: str) -> str:
    """Return a topic as a tag; the separator stands in none."""
    return topic.replace(_TAG_SEPARATOR, " ")
