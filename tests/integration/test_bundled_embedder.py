"""The real bundled embedder, as its own process: what it finds near, and how it takes what is no request."""

import asyncio
import base64
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from appliance.core.embeddings import HttpEmbedder, threshold_of
from appliance.core.settings import load
from appliance.core.vectors import distance, floats, vector
from appliance.embedded.embedder import embedder, embedder_url
from appliance.embedded.embedder_server import MOST_BYTES, MOST_CHARS
from appliance.embedded.places import Home
from appliance.embedded.programs import free_port, start, stop, wait_ready

MODEL = "multilingual-e5-small"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, int]]:
    """Run the embedder as `nexus up` does; its address and process."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        program = embedder(Home.at(folder).create(), port)
        process = start(program, Path(folder) / "log")
        try:
            wait_ready(program, 60, process)
            yield embedder_url(port), process.pid
        finally:
            stop(program, process)


@pytest.fixture
async def http(running: tuple[str, int]) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=running[0], trust_env=False, timeout=60) as it:
        yield it


@pytest.fixture
async def client(running: tuple[str, int]) -> AsyncIterator[HttpEmbedder]:
    """Our client, as an agent has it."""
    it = HttpEmbedder(load(embedding_url=running[0]))
    yield it
    await it.aclose()


@pytest.mark.parametrize(
    ("fact", "paraphrase", "another"),
    [
        ("I live in Berlin.", "My home is in Berlin.", "I do not like coffee."),
        ("Ich wohne in Hamburg.", "Mein Zuhause ist in Hamburg.", "Ich trinke keinen Kaffee."),
        ("J'habite à Lyon.", "Mon domicile est à Lyon.", "Je n'aime pas le café."),
    ],
)
async def test_a_paraphrase_is_a_duplicate_and_another_fact_is_none(
    client: HttpEmbedder, fact: str, paraphrase: str, another: str
) -> None:
    it, same, other = await client.embed([fact, paraphrase, another])
    assert distance(it, same) < threshold_of(MODEL) < distance(it, other)


async def test_a_question_finds_its_answer_in_another_language(client: HttpEmbedder) -> None:
    [question] = await client.embed(["Where does Ada live?"], query=True)
    facts = ["Ada wohnt in Berlin.", "Ada trinkt keinen Kaffee.", "Das Projekt endet im Mai."]
    distances = [distance(question, it) for it in await client.embed(facts)]
    assert distances[0] == min(distances)


async def test_the_same_text_has_the_same_vector_alone_and_among_others(http: httpx2.AsyncClient) -> None:
    async def ask(said: str | list[str]) -> list[Any]:
        answer = await http.post("/embeddings", json={"model": MODEL, "input": said})
        assert (answer.status_code, answer.json()["object"]) == (200, "list")
        return [item["embedding"] for item in answer.json()["data"]]

    [alone] = await ask("passage: I live in Berlin.")
    _, among = await ask(["passage: something else", "passage: I live in Berlin."])
    [bare] = await ask("I live in Berlin.")
    [question] = await ask("query: I live in Berlin.")
    assert len(alone) == 384
    assert alone == among == bare
    assert distance(vector(alone), vector(question)) > 0.001, "another prefix is another text to the model"


async def test_openais_own_client_gets_what_it_asks_for(http: httpx2.AsyncClient) -> None:
    plain, packed = [
        (await http.post("/embeddings", json={"model": MODEL, "input": ["x"], "encoding_format": form})).json()
        for form in ("float", "base64")
    ]
    assert floats(base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx(plain["data"][0]["embedding"])
    assert packed["usage"]["total_tokens"] >= 0
    assert [model["id"] for model in (await http.get("/models")).json()["data"]] == [MODEL]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"not json", 400, "no JSON object"),
        (b"[1]", 400, "no JSON object"),
        (b"{}", 400, "a text or a list of texts"),
        (b'{"input": []}', 400, "a text or a list of texts"),
        (b'{"input": [1]}', 400, "a text or a list of texts"),
        (b'{"input": [[1, 2]]}', 400, "a text or a list of texts"),
        (b'{"input": "\\u0000 "}', 400, "that are not blank"),
        (b'{"input": "%s"}' % (b"x" * (MOST_CHARS + 1)), 400, f"1 to {MOST_CHARS}"),
        (b'{"input": %s}' % str(["x"] * 257).replace("'", '"').encode(), 400, "257 texts are too many"),
        (b'{"input": "x", "model": "gpt-5"}', 404, "no model 'gpt-5' here, only multilingual-e5-small"),
        (b" " * (MOST_BYTES + 1), 413, "longer than"),
    ],
)
async def test_what_is_no_request_is_refused_in_words(
    http: httpx2.AsyncClient, body: bytes, status: int, said: str
) -> None:
    answer = await http.post("/embeddings", content=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert (await http.get("/models")).status_code == 200


async def test_no_text_ends_the_server(http: httpx2.AsyncClient) -> None:
    texts = ["\U0001f989" * 500, "before\0after", "\u202e\u200b", "a" * MOST_CHARS, "\ufffd"]
    answer = await http.post("/embeddings", json={"model": MODEL, "input": texts})
    assert answer.status_code == 200
    for item in answer.json()["data"]:
        assert sum(it * it for it in item["embedding"]) == pytest.approx(1, abs=1e-3)
    half = await http.post("/embeddings", content=b'{"input": "half a pair \\ud83d"}')
    assert half.status_code == 200
    assert (await http.get("/nothing")).status_code == 404


async def test_a_question_does_not_wait_for_a_batch_and_one_thread_does_the_work(
    running: tuple[str, int], client: HttpEmbedder
) -> None:
    batch = asyncio.create_task(client.embed([f"{number}. " + "something long " * 60 for number in range(12)]))
    other = HttpEmbedder(load(embedding_url=running[0]))
    await other.embed(["Who am I?"], query=True)
    assert not batch.done()
    await other.aclose()
    assert len(await batch) == 12
    working = [stat for stat in Path(f"/proc/{running[1]}/task").glob("*/stat") if cpu(stat) > os.sysconf("SC_CLK_TCK")]
    assert len(working) <= 1, "threads that used more than a second"


def cpu(stat: Path) -> int:
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
