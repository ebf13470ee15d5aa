"""A search finds by meaning and by words, in any language, one's own only, and says what it had to do without."""

import signal

import pytest

from appliance.core.errors import StoreAway
from appliance.core.memory import search as searching
from appliance.core.memory.items import Closing
from appliance.core.memory.search import BY_WORDS, OTHER_MODEL, WITHOUT_INDEX, WITHOUT_REDIS
from tests.indexes import Library, Meaning
from tests.stores import Stores
from tests.waiting import wait_until


async def test_meaning_and_words_are_found_at_once(library: Library) -> None:
    await library.say("I drink espresso", "The door code is 4711x", "My dog is called Rex", "I live in Berlin")
    await library.settle()
    assert await library.found("coffee", limit=1) == ["I drink espresso"]
    assert await library.found("what was 4711x again", limit=1) == ["The door code is 4711x"]
    hits = (await library.search.search(library.people.ada, "rex puppy")).hits
    assert hits[0].memory.text == "My dog is called Rex"
    distances = [it.distance for it in hits if it.distance is not None]
    assert (len(distances), distances[0]) == (4, min(distances))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Ich mag „Käsespätzle“, sehr.", "KÄSESPÄTZLE"),
        ("Meine Straße heißt Hauptstraße", "hauptstrasse"),
        ("Моя собака любит ГУЛЯТЬ", "гулять"),
        ("我喜欢喝咖啡", "咖啡"),
        ("コーヒーが好きです", "コーヒー"),
        ("ผมชอบกาแฟ", "กาแฟ"),
        ("The Who are my favourite band", "the who"),
        ("my-nick_name is a@b.c", "my-nick_name"),
        ("x = {a|b} (or) *", "{a|b} (or) *"),
    ],
)
async def test_words_of_any_language_are_found_without_an_embedder(library: Library, text: str, query: str) -> None:
    await library.say("Something else entirely", text, "noch etwas ganz anderes")
    await library.settle()
    library.meaning.away = True
    found = await library.search.search(library.people.ada, query)
    assert [it.memory.text for it in found.hits][:1] == [text]
    assert (found.note, found.hits[0].distance) == (BY_WORDS, None)


async def test_all_words_count_and_those_most_that_few_memories_have(library: Library) -> None:
    """Documents are written twice here, without and with a vector: until Redis has forgotten the first, `i` wins."""
    berlin = "I live in Berlin and go to work by bicycle"
    await library.say(berlin, "I swim", "I drink espresso", "I run", "My dog is called Rex", "They work")
    await library.settle()
    library.meaning.away = True
    assert await library.found("espresso bicycle swim berlin", limit=1) == [berlin], "it has two of four"

    async def rare_words_win() -> bool:
        return (await library.found("i berlin"))[0] == berlin

    await wait_until(rare_words_win, of="an order that heeds only what is there")


@pytest.mark.parametrize("query", ["", "   ", "🍕", "???", "a" * 5000, "@user_id:{*}", "*", "=>[KNN 3 @embedding $v]"])
async def test_no_question_is_a_wrong_one(library: Library, query: str) -> None:
    await library.say("I drink espresso")
    await library.settle()
    found = await library.search.search(library.people.ada, query)
    assert found.note == ""
    assert len(found.hits) == (1 if query.strip() else 0)


async def test_nobody_finds_what_is_anothers_by_meaning_by_words_or_without_an_index(library: Library) -> None:
    ada, bob = library.people.ada, library.people.bob
    await library.say("I drink espresso")
    await library.say("I drink coffee at work", user=bob)
    for _ in range(2):  # in rows, then in the index
        assert await library.found("espresso coffee drink") == ["I drink espresso"]
        assert await library.found("espresso coffee drink", user=bob) == ["I drink coffee at work"]
        await library.settle()
    stranger = type(ada)(id=ada.id, name="ada", tenant_id="other")
    assert await library.found("espresso", user=stranger) == []


async def test_what_was_erased_is_gone_at_once_though_its_document_lingers(library: Library) -> None:
    espresso, tea = await library.say("I drink espresso", "I drink tea")
    await library.settle()
    await library.people.store.erase(library.people.ada, espresso.id, by="ada")
    assert await library.documents() == 2
    assert await library.found("espresso coffee drink") == [tea.text]


async def test_what_holds_no_more_is_not_shown_though_its_document_lingers(library: Library) -> None:
    [old] = await library.say("I drink espresso")
    await library.settle()
    await library.people.keep("I drink tea", 0.0, Closing(old.id, "contradicted"))
    assert await library.documents() == 1
    assert await library.found("espresso coffee drink") == []


async def test_the_index_itself_ranks_only_ones_own(library: Library) -> None:
    ada, bob = library.people.ada, library.people.bob
    [mine] = await library.say("I drink espresso")
    await library.say(*(f"I drink espresso {n}" for n in range(5)), user=bob)
    await library.settle()
    vector = library.meaning.vector("espresso")
    whose = library.whose(ada)
    found = await library.index.find(library.name(), whose, words=["espresso"], vector=vector, limit=3)
    assert ([id_ for id_, _ in found.near], found.told) == ([mine.id], [mine.id])
    other = await library.index.find(
        library.name(), whose._replace(tenant="other"), words=["espresso"], vector=vector, limit=3
    )
    assert (other.near, other.told) == ([], [])


async def test_types_topics_and_trust_narrow_a_search(library: Library) -> None:
    await library.keep("I drink espresso", type="preference", topics=("food, drinks", "morning"))
    await library.keep("The page says espresso is bad", trust="tool")
    await library.keep("The agent noticed espresso", trust="agent", type="pattern")
    for _ in range(2):
        found = library.found
        assert await found("espresso", types=("preference",)) == ["I drink espresso"]
        assert await found("espresso", topics=("food, drinks",)) == ["I drink espresso"]
        assert await found("espresso", topics=("drinks",)) == []
        assert set(await found("espresso", trusts=("user", "agent"))) == {
            "I drink espresso",
            "The agent noticed espresso",
        }
        assert len(await found("espresso")) == 3
        await library.settle()


async def test_without_an_index_rows_are_searched_and_it_is_said(library: Library) -> None:
    await library.say("I drink ESPRESSO in Köln", "I drink tea")
    found = await library.search.search(library.people.ada, "espresso KÖLN drink")
    assert [it.memory.text for it in found.hits] == ["I drink ESPRESSO in Köln", "I drink tea"]
    assert found.note == WITHOUT_INDEX


async def test_without_redis_rows_are_searched_and_without_postgresql_it_is_said(
    library: Library, stores: Stores
) -> None:
    await library.say("I drink espresso", "I drink tea")
    await library.settle()
    stores.signal("redis", signal.SIGSTOP)
    try:
        found = await library.search.search(library.people.ada, "tea")
    finally:
        stores.signal("redis", signal.SIGCONT)
    assert ([it.memory.text for it in found.hits], found.note) == (["I drink tea"], WITHOUT_REDIS)
    await library.postgres.aclose()
    with pytest.raises(StoreAway):
        await library.found("tea")


async def test_another_models_index_is_searched_with_its_own_model_or_by_words(library: Library) -> None:
    await library.say("I drink espresso", "My dog is called Rex")
    await library.settle()
    newer = Meaning("newer", 8)
    by_both = library.searches(newer, {"meaning": library.meaning})
    found = await by_both.search(library.people.ada, "coffee", limit=1)
    assert ([it.memory.text for it in found.hits], found.note) == (["I drink espresso"], "")
    library.meaning.refuses = True
    for search in (by_both, library.searches(newer)):
        found = await search.search(library.people.ada, "coffee dog")
        assert ([it.memory.text for it in found.hits], found.note) == (["My dog is called Rex"], OTHER_MODEL)
    assert newer.asked == 0


async def test_a_pinned_and_a_certain_memory_come_first(library: Library) -> None:
    await library.keep("espresso one", confidence=0.2)
    await library.keep("espresso two", confidence=0.9)
    pinned = await library.keep("espresso three", confidence=0.2)
    await library.settle()
    assert (await library.found("espresso"))[0] == "espresso two"
    await library.people.store.pin(library.people.ada, pinned.id, True)
    assert (await library.found("espresso"))[0] == "espresso three"


async def test_more_are_ranked_than_are_shown(library: Library) -> None:
    await library.say(*(f"espresso {n}" for n in range(30)))
    await library.settle()
    assert len(await library.found("espresso", limit=5)) == 5
    assert searching.DEEPER * 5 <= 30
