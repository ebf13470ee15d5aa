"""Texts become vectors: over real HTTP, from a server that errs in every way."""

import asyncio

import pytest
from prometheus_client import generate_latest

from appliance.core.embeddings import client
from appliance.core.embeddings.models import longest_of
from appliance.core.errors import BadInput, EmbedderAway, EmbedderRefused
from appliance.core.metrics import AGENT
from appliance.core.vectors import distance, floats
from tests.fakes.embedder import MODEL, FakeEmbedder, Mode
from tests.integration.conftest import MakeEmbedder as Make

CAT, DOG = "The cat sleeps on the warm stove.", "Our dog barks at every postman."


async def test_each_text_gets_its_vector_and_same_words_are_near(make: Make) -> None:
    vectors = await make().embed([CAT, DOG, "the CAT sleeps, on the warm stove"])
    assert [len(floats(it)) for it in vectors] == [384] * 3
    assert distance(vectors[0], vectors[2]) < 0.01 < 0.5 < distance(vectors[0], vectors[1])


async def test_questions_and_passages_carry_the_prefixes_of_the_model(make: Make, embedder: FakeEmbedder) -> None:
    await make().embed([CAT])
    await make().embed([CAT], query=True)
    await make(embedding_model="bge-m3").embed([CAT], query=True)
    await make(embedding_prefixes="none").embed([CAT])
    assert embedder.texts == [f"passage: {CAT}", f"query: {CAT}", CAT, CAT]


async def test_a_key_is_sent_and_stands_in_no_error(make: Make, embedder: FakeEmbedder) -> None:
    it = make(embedding_api_key="sesame")
    await it.embed([CAT])
    assert embedder.asked[0].key == "Bearer sesame"
    embedder.mode = "status 400"
    with pytest.raises(EmbedderRefused) as refused:
        await it.embed([DOG])
    assert "sesame" not in str(refused.value)


async def test_vectors_come_in_the_order_of_the_texts_whatever_order_the_server_likes(
    make: Make, embedder: FakeEmbedder
) -> None:
    texts = [f"fact number {number}" for number in range(150)]
    embedder.mode = "backwards"
    backwards = await make().embed(texts)
    embedder.mode = ""
    assert backwards == await make().embed(texts)
    assert [len(request.texts) for request in embedder.asked] == [64, 64, 22] * 2


async def test_a_megabyte_is_cut_to_what_the_model_reads(make: Make, embedder: FakeEmbedder) -> None:
    one, other = await make().embed(["word " * 200_000, "word " * 200_000 + CAT])
    assert one == other
    assert [len(text) for text in embedder.texts] == [longest_of(MODEL) + len("passage: ")], "and asked for once"
    await make().embed(["Ünïcode 🦉 " * 1000 for _ in range(3)] + [f"{n}" * 5000 for n in range(9)])
    assert all(request.bytes < 2 * client.BATCH_BYTES for request in embedder.asked)


async def test_any_text_can_be_sent_except_none(make: Make, embedder: FakeEmbedder) -> None:
    await make().embed(["before\0after", "half a pair \ud83d", '"quoted"\r\n\u2028'])
    assert embedder.texts == ["passage: before after", "passage: half a pair ?", 'passage: "quoted"\r\n\u2028']
    for empty in ("", " \n", "\0"):
        with pytest.raises(BadInput, match="leave it out"):
            await make().embed([CAT, empty])
    assert await make().embed([]) == []


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("garbage", "something else than vectors"),
        ("nan", "something else than vectors"),
        ("zeros", "something else than vectors"),
        ("few", "1 vectors to 2 texts"),
        ("same index", "2 vectors to 2 texts"),
        ("mixed", "383 and 384 dimensions"),
        ("cut", "no usable answer"),
        ("status 500", "answered 500"),
        ("status 429", "answered 429"),
    ],
)
async def test_an_answer_that_is_none_is_an_embedder_away(
    make: Make, embedder: FakeEmbedder, mode: Mode, said: str
) -> None:
    it = make()
    embedder.mode = mode
    with pytest.raises(EmbedderAway, match=said) as away:
        await it.embed([CAT, DOG])
    assert away.value.retryable
    embedder.mode = ""
    assert len(await it.embed([CAT, DOG])) == 2, "nothing wrong was kept"


async def test_an_answer_without_an_end_is_cut_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 1000)
    with pytest.raises(EmbedderAway, match="answer is longer than"):
        await make().embed([CAT])


async def test_a_rejected_request_is_not_worth_repeating(make: Make, embedder: FakeEmbedder) -> None:
    embedder.mode = "status 400"
    with pytest.raises(EmbedderRefused, match=r"400: .*as scripted") as refused:
        await make().embed([CAT])
    assert not refused.value.retryable
    with pytest.raises(EmbedderRefused, match="set EMBEDDING_URL"):
        await make(embedding_url="").embed([CAT])


async def test_a_dead_server_is_away_at_once_and_its_return_is_noticed(make: Make, embedder: FakeEmbedder) -> None:
    it = make()
    await it.embed([CAT])
    await embedder.stop()
    with pytest.raises(EmbedderAway, match="cause="):
        await it.embed([DOG])
    await embedder.start()
    assert len(await it.embed([DOG])) == 1


async def test_a_silent_server_costs_a_bounded_time(
    make: Make, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "QUERY_S", 0.2)
    monkeypatch.setattr(client, "BATCH_S", 0.3)
    embedder.mode = "hang"
    it = make()
    async with asyncio.timeout(20):
        with pytest.raises(EmbedderAway, match=r"within 0\.2 s"):
            await it.embed([CAT], query=True)
        with pytest.raises(EmbedderAway, match=r"within 0\.3 s"):
            await it.embed([CAT])
    embedder.mode = ""
    assert len(await it.embed([CAT])) == 1


async def test_other_dimensions_than_before_are_not_taken(make: Make, embedder: FakeEmbedder) -> None:
    it = make()
    await it.embed([CAT])
    embedder.dims = 512
    with pytest.raises(EmbedderAway, match="384 and 512 dimensions: has its model changed"):
        await it.embed([DOG])


async def test_requests_and_hits_are_counted(make: Make, embedder: FakeEmbedder) -> None:
    def counted(line: str) -> float:
        [found] = [it for it in generate_latest(AGENT).decode().splitlines() if it.startswith(line + " ")]
        return float(found.rpartition(" ")[2])

    lines = [f'nexus_embedding_requests_total{{outcome="{it}"}}' for it in ("done", "failed", "refused")]
    lines += [f'nexus_embedding_cache_total{{outcome="{it}"}}' for it in ("hit", "miss")]
    lines += ["nexus_embedding_seconds_count"]
    before = [counted(line) for line in lines]
    it = make()
    await it.embed([CAT])
    await it.embed([CAT, DOG])
    modes: list[Mode] = ["status 500", "status 400"]
    for embedder.mode in modes:
        with pytest.raises(EmbedderAway):
            await it.embed(["never answered"])
    assert [counted(line) - was for line, was in zip(lines, before, strict=True)] == [2, 1, 1, 1, 4, 4]
