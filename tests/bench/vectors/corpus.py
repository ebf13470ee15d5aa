"""Synthetic memories: vectors around centres, texts of words after Zipf; the same every time."""

from functools import cached_property
from typing import NamedTuple
from uuid import UUID, uuid5

import numpy
from numpy.typing import NDArray

DIMS, CENTRES, SPREAD = 384, 400, 0.9
"""Two of one centre are about 0.45 apart (cosine distance), two of different ones about 1."""
WORDS, WORDS_A_TEXT, WORDS_A_QUESTION, K = 5_000, 12, 4, 10
_SPACE = UUID("6f9c4a3e-0000-4000-8000-000000000000")


class Question(NamedTuple):
    """Of one person, with its vector already made."""

    person: int
    text: str
    vector: NDArray[numpy.float32]


class Corpus:
    """Memories of people, each person's in one block of rows."""

    def __init__(self, people: int, each: int) -> None:
        self.people, self.each = people, each
        self._random = numpy.random.default_rng(1)
        self._centres = self._random.standard_normal((CENTRES, DIMS), dtype=numpy.float32)
        self.vectors = self._around(people * each)
        self.texts = [self._text(WORDS_A_TEXT) for _ in range(people * each)]
        self.ids = [str(uuid5(_SPACE, str(n))) for n in range(people * each)]

    def _around(self, number: int) -> NDArray[numpy.float32]:
        of = self._centres[self._random.integers(CENTRES, size=number)]
        found = of + SPREAD * self._random.standard_normal((number, DIMS), dtype=numpy.float32)
        vectors: NDArray[numpy.float32] = found / numpy.linalg.norm(found, axis=1, keepdims=True)
        return vectors.astype(numpy.float32)

    def _text(self, words: int) -> str:
        return " ".join(f"word{min(int(n), WORDS)}" for n in self._random.zipf(1.3, size=words))

    def questions(self, number: int) -> list[Question]:
        """Return questions near the corpus's centres, of people in turn."""
        vectors = self._around(number)
        return [Question(n % self.people, self._text(WORDS_A_QUESTION), vectors[n]) for n in range(number)]

    def nearest(self, question: Question) -> set[str]:
        """Return the ids of the person's nearest, by comparing with all of them."""
        first = question.person * self.each
        near = self.vectors[first : first + self.each] @ question.vector
        return {self.ids[first + int(n)] for n in numpy.argsort(-near)[:K]}

    @cached_property
    def blobs(self) -> list[bytes]:
        """All vectors as float32 bytes."""
        return [it.tobytes() for it in self.vectors]
