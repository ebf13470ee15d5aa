"""Vectors: bytes of little-endian float32, as Redis keeps them, and PostgreSQL's two forms. Pure, and without numpy."""

import math
import struct
from collections.abc import Sequence

Vector = bytes
"""L2-normalised; four bytes a dimension."""
_FLOAT = 4
_HEAD = 4
"""Bytes before the numbers in pgvector's wire form: dimensions and two unused."""


def vector(values: Sequence[float]) -> Vector:
    """Return the vector of length one in the direction of `values`.

    Raises:
        ValueError: they have no direction: none at all, all zero, or not finite.
    """
    length = math.hypot(*values)
    if not length or not math.isfinite(length):
        raise ValueError(f"{len(values)} numbers of length {length} are no vector")
    return struct.pack(f"<{len(values)}f", *(value / length for value in values))


def floats(of: Vector) -> tuple[float, ...]:
    """Return the numbers of a vector.

    Raises:
        ValueError: these bytes are none.
    """
    if not of or len(of) % _FLOAT:
        raise ValueError(f"{len(of)} bytes are no vector")
    return struct.unpack(f"<{dimensions(of)}f", of)


def dimensions(vector: Vector) -> int:
    """Return how many numbers it has."""
    return len(vector) // _FLOAT


def distance(one: Vector, other: Vector) -> float:
    """Return the cosine distance of two vectors: 0 the same, 1 unrelated, 2 opposite.

    Raises:
        ValueError: they have not the same number of dimensions, so they are of two models.
    """
    if len(one) != len(other):
        raise ValueError(f"a vector of {dimensions(one)} and one of {dimensions(other)} dimensions")
    product = math.fsum(a * b for a, b in zip(floats(one), floats(other), strict=True))
    return min(2.0, max(0.0, 1 - product))


def to_text(vector: Vector | None) -> str:
    """Return a vector as pgvector reads it; '' for none."""
    return "" if vector is None else f"[{','.join(map(repr, floats(vector)))}]"


def from_wire(sent: bytes | None) -> Vector | None:
    """Return what `vector_send` sent, whose numbers are big-endian."""
    if sent is None:
        return None
    numbers = sent[_HEAD:]
    return struct.pack(f"<{dimensions(numbers)}f", *struct.unpack(f">{dimensions(numbers)}f", numbers))
