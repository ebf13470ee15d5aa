"""Words, documents and names of indexes (DESIGN 10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import BadInput
from appliance.core.memory.index import redisvl_schema
from appliance.core.memory.schema import FIELDS, VECTOR, IndexName, definition, document
from appliance.core.memory.words import unlike_ascii, words
from tests.unit.test_memory_ranking import memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I drink tea, black tea.", ["i", "drink", "tea", "black"]),
        ("„ÜBER“ Straße…", ["über", "strasse"]),
        ("Привет, МИР!", ["привет", "мир"]),
        ("我喜欢咖啡。OK", ["我喜", "喜欢", "欢咖", "咖啡", "ok"]),
        ("コーヒーtea", ["コー", "ーヒ", "ヒー", "tea"]),
        ("\ufb01ne \uff21\uff11", ["fine", "a1"]),
        ("🍕 ... @user{x}|*", ["user", "x"]),
        ("", []),
    ],
)
def test_words_are_in_normal_form_in_any_language(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_only_what_redisearch_would_miss_is_stored_twice() -> None:
    assert unlike_ascii("The dog's name is Rex (a good one)!") == []
    assert unlike_ascii("„Rex“ heißt Über-Hund") == ["rex", "heisst", "über"]


@given(st.text())
def test_no_word_holds_what_a_query_would_take_for_syntax(text: str) -> None:
    assert all(word.replace("_", "").isalnum() for word in words(text))


@given(st.text())
def test_words_found_in_words_are_the_same(text: str) -> None:
    found = words(text)
    assert set(words(" ".join(found))) <= set(found)


@given(st.text(min_size=1), st.integers(1, 8192), st.integers(0, 99))
def test_the_name_of_an_index_says_which_model_it_is_of(model: str, dims: int, build: int) -> None:
    name = IndexName(model.encode(errors="replace").decode(), dims, build)
    assert IndexName.read(str(name)) == name
    assert ":" not in str(name)


@pytest.mark.parametrize(
    "name", ["vectors", "wanted", "build", "gone:x-3", "m-0", "m-8193", "m-384@0", "m-384:abc", "-3"]
)
def test_other_keys_beside_the_indexes_are_none(name: str) -> None:
    assert IndexName.read(name) is None


def test_keepers_make_the_index_that_redisvl_searches() -> None:
    known = redisvl_schema("k", 384)
    said = [str(getattr(it, "value", it)) for field in known.redis_fields for it in field.redis_args()]
    ours = [str(it) for it in definition("k", 384)]
    ours = ours[ours.index("SCHEMA") + 1 :]
    # redisvl writes out defaults: weights of texts, separators of tags, two more numbers of the graph.
    assert [it for it in said if it in (*FIELDS, VECTOR)] == [it for it in ours if it in (*FIELDS, VECTOR)]
    for word in ("NOSTEM", "TEXT", "TAG", "NUMERIC", "HNSW", "COSINE", "384", "FLOAT32"):
        assert said.count(word) == ours.count(word), word
    assert (known.index.prefix, known.index.stopwords) == ("k:", [])


def test_a_document_holds_the_vector_as_it_is_and_none_when_there_is_none() -> None:
    vector = b"\0" * 16
    assert document(memory("m1"), vector, 4)[VECTOR] == vector
    assert VECTOR not in document(memory("m1"), None, 4)
    assert set(document(memory("m1"), None, 4)) == set(FIELDS)
    with pytest.raises(BadInput, match="vectors of 8 dimensions; this one has 4"):
        document(memory("m1"), vector, 8)
