"""The bundled embedder's server around an engine that works when it is told to."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest

from appliance.core.settings import BUNDLED_EMBEDDER
from appliance.embedded import embedder_server
from appliance.embedded.embedder_server import MODEL, Line, Server
from tests.waiting import wait_until

PATIENCE_S = 20
Begin = Callable[..., HTTPConnection]


class Engine:
    """Says what it was asked for, one text at each `step`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.begun = threading.Semaphore(0)
        self.step = threading.Semaphore(0)

    def encode(self, texts: str, is_query: bool = False) -> Any:
        self.asked.append((texts, is_query))
        self.begun.release()
        assert self.step.acquire(timeout=PATIENCE_S)
        if texts == "bad":
            raise MemoryError
        return np.array([0.6, 0.8], dtype=np.float32)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def server(engine: Engine) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Line(engine))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    engine.step.release(1000)
    server.shutdown()
    server.server_close()


async def until_waiting(server: Server, number: int) -> None:
    async def waiting() -> bool:
        return server.line.waiting == number

    await wait_until(waiting, of=f"{number} texts in line")


@pytest.fixture
def begin(server: Server) -> Iterator[Begin]:
    """Ask on a connection of its own, and leave the answer to be fetched."""
    with ExitStack() as stack:

        def asked(*texts: str) -> HTTPConnection:
            connection = HTTPConnection("127.0.0.1", int(server.server_address[1]), timeout=PATIENCE_S)
            stack.callback(connection.close)
            connection.request("POST", "/v1/embeddings", json.dumps({"input": texts}))
            return connection

        yield asked


def test_the_server_and_the_settings_name_the_same_model() -> None:
    assert MODEL == BUNDLED_EMBEDDER


async def test_questions_overtake_what_waits(server: Server, begin: Begin, engine: Engine) -> None:
    batch = begin("passage: one", "passage: two", "three")
    assert engine.begun.acquire(timeout=PATIENCE_S)
    question = begin("query: where?")
    await until_waiting(server, 1)
    engine.step.release(4)
    assert json.load(question.getresponse())["data"][0]["embedding"] == pytest.approx([0.6, 0.8])
    assert len(json.load(batch.getresponse())["data"]) == 3
    assert engine.asked == [("one", False), ("where?", True), ("two", False), ("three", False)]


def test_nothing_more_is_done_for_who_hung_up(server: Server, begin: Begin, engine: Engine) -> None:
    gone = begin(*(f"text {number}" for number in range(50)))
    assert engine.begun.acquire(timeout=PATIENCE_S)
    assert gone.sock is not None
    gone.sock.shutdown(socket.SHUT_RDWR)
    gone.close()
    engine.step.release()
    stays = begin("text of another")
    engine.step.release()
    assert stays.getresponse().status == 200
    assert [text for text, _ in engine.asked] == ["text 0", "text of another"]


async def test_too_many_at_once_are_told_to_come_again(
    server: Server, begin: Begin, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_server, "MOST_WAITING", 1)
    first = begin("one")
    assert engine.begun.acquire(timeout=PATIENCE_S)
    second = begin("two")
    await until_waiting(server, 1)
    refused = begin("three").getresponse()
    assert (refused.status, "try again" in json.load(refused)["error"]["message"]) == (503, True)
    engine.step.release(2)
    assert [it.getresponse().status for it in (first, second)] == [200, 200]


def test_an_engine_that_fails_is_said_and_the_next_text_is_served(server: Server, begin: Begin, engine: Engine) -> None:
    engine.step.release(2)
    failed = begin("bad").getresponse()
    assert (failed.status, "MemoryError" in json.load(failed)["error"]["message"]) == (500, True)
    assert begin("good").getresponse().status == 200


def test_a_request_without_a_length_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.server_address[1])), timeout=PATIENCE_S) as raw:
        raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        said = raw.makefile("rb").read()
    assert b" 411 " in said
    assert b"say the length" in said
