"""Vectors between their three forms: float32 bytes, PostgreSQL's text, and PostgreSQL's wire form. Pure."""

import sys
from array import array

from appliance.core.memory.items import Vector

_HEAD = 4
"""Bytes before the numbers in pgvector's wire form: dimensions and two unused."""


def dimensions(vector: Vector) -> int:
    """Return how many numbers it has."""
    return len(vector) // 4


def to_text(vector: Vector | None) -> str:
    """Return a vector as pgvector reads it; '' for none."""
    return "" if vector is None else f"[{','.join(map(repr, _numbers(vector)))}]"


def from_wire(sent: bytes | None) -> Vector | None:
    """Return what `vector_send` sent, whose numbers are big-endian."""
    if sent is None:
        return None
    numbers = array("f", sent[_HEAD:])
    numbers.byteswap()
    return numbers.tobytes()


def _numbers(vector: Vector) -> "array[float]":
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
