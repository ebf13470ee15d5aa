"""Vectors as bytes of little-endian float32, the form in which Redis keeps them too. Pure, and without numpy."""

import math
import struct
from collections.abc import Sequence

Vector = bytes
"""L2-normalised; four bytes a dimension."""
_FLOAT = 4


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
    return struct.unpack(f"<{len(of) // _FLOAT}f", of)


def distance(one: Vector, other: Vector) -> float:
    """Return the cosine distance of two vectors: 0 the same, 1 unrelated, 2 opposite.

    Raises:
        ValueError: they have not the same number of dimensions, so they are of two models.
    """
    if len(one) != len(other):
        raise ValueError(f"a vector of {len(one) // _FLOAT} and one of {len(other) // _FLOAT} dimensions")
    product = math.fsum(a * b for a, b in zip(floats(one), floats(other), strict=True))
    return min(2.0, max(0.0, 1 - product))
