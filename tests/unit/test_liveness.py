"""The liveness port: only a keeper that knows the cluster's secret is believed to live (PROTOCOLS 6.1, 6.4)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agent_image.keeper.liveness import Hello, Liveness
from appliance.core.settings import load

HELLO = Hello(agent="agent-1", boot="boot-1", epoch=7, role="primary", holds=True)
HOST = "127.0.0.1"
Answer = Callable[[dict[str, Any]], bytes]


def a_liveness(secret: str = "the cluster's") -> Liveness:
    return Liveness(load(cluster_secret=secret, agent_host=HOST, liveness_port=0), lambda: HELLO)


@pytest.fixture
async def keeper() -> AsyncIterator[Liveness]:
    serving = a_liveness()
    await serving.start()
    yield serving
    await serving.close()


async def test_a_living_keeper_says_who_it_is_and_what_it_holds(keeper: Liveness) -> None:
    assert await a_liveness().probe(HOST, keeper.port) == HELLO


async def test_a_stranger_to_the_secret_is_told_nothing(keeper: Liveness) -> None:
    assert await a_liveness("a guess").probe(HOST, keeper.port) is None


async def test_an_ended_keeper_ends_the_connections_to_it(keeper: Liveness) -> None:
    found = await a_liveness().connect(HOST, keeper.port)
    assert found is not None
    _, reader, writer = found
    await keeper.close()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_nobody_there_is_silence() -> None:
    gone = a_liveness()
    await gone.start()
    port = gone.port
    await gone.close()
    assert await a_liveness().probe(HOST, port) is None


async def probed(answer: Answer) -> Hello | None:
    """Probe a server that answers each asker's fields with `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(msgspec.json.decode(await reader.readline())) + b"\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        return await a_liveness().probe(HOST, server.sockets[0].getsockname()[1])
    finally:
        server.close()


def said(asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    return msgspec.to_builtins(HELLO) | {"nonce": asked["nonce"], "at": time.time()} | more  # type: ignore[no-any-return]


def signed(fields: dict[str, Any], secret: str = "the cluster's") -> bytes:
    return msgspec.json.encode(fields | {"mac": a_liveness(secret)._mac(fields)})


async def test_what_another_secret_signed_is_not_believed() -> None:
    assert await probed(lambda asked: signed(said(asked))) == HELLO
    assert await probed(lambda asked: signed(said(asked), "another's")) is None


async def test_what_was_altered_after_it_was_signed_is_not_believed() -> None:
    def altered(asked: dict[str, Any]) -> bytes:
        return signed(said(asked)).replace(b'"epoch":7', b'"epoch":8')

    assert await probed(altered) is None


async def test_an_unsigned_hello_is_not_believed() -> None:
    assert await probed(lambda asked: msgspec.json.encode(said(asked))) is None


async def test_an_answer_to_somebody_elses_question_is_not_believed() -> None:
    assert await probed(lambda asked: signed(said(asked, nonce="recorded before"))) is None


async def test_a_hello_of_last_week_is_not_believed() -> None:
    assert await probed(lambda asked: signed(said(asked, at=time.time() - 7 * 24 * 3600))) is None


@pytest.mark.parametrize("nonsense", [b"", b"{}", b"nonsense", b"[1]", b"\xff\xfe"])
async def test_nonsense_is_not_believed_and_breaks_nothing(nonsense: bytes) -> None:
    assert await probed(lambda _: nonsense) is None


@pytest.mark.parametrize("nonsense", [b"\n", b"{}\n", b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"x" * 10_000])
async def test_a_keeper_outlives_nonsense(keeper: Liveness, nonsense: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, keeper.port)
    writer.write(nonsense)
    await _ended(reader.read)
    writer.close()
    assert await a_liveness().probe(HOST, keeper.port) == HELLO


async def _ended(read: Callable[[], Awaitable[bytes]]) -> None:
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(read(), 10) == b""
