"""A fake embedding server: OpenAI's `/v1/embeddings` over real HTTP, in the test's own loop.

Its vectors are made of words, so texts with the same words are near and texts without a common word are not. Tests set
`mode` to what it shall do wrong, `dims` to another size; `stop` and `start` kill it and bring it back on the same port.
"""

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

Mode = Literal[
    "", "hang", "cut", "garbage", "status 500", "status 429", "status 400", "status 401", "nan", "zeros", "few",
    "mixed", "backwards", "same index",
]  # fmt: skip
MODEL = "fake-e5-words"
"""A name by which clients know it for an E5: questions and passages come with prefixes."""
_PREFIX = re.compile(r"^(query|passage): ")


class Request(NamedTuple):
    """What a client asked for."""

    model: str
    texts: list[str]
    key: str
    bytes: int


def words_as_vector(text: str, dims: int) -> list[float]:
    """Return the sum of one direction for each word; those of different words are nearly at right angles."""
    total = [0.0] * dims
    for word in re.findall(r"\w+", _PREFIX.sub("", text).lower()) or [text]:
        noise = hashlib.shake_256(word.encode()).digest(dims)
        total = [sum_ + byte - 127.5 for sum_, byte in zip(total, noise, strict=True)]
    length = math.hypot(*total)
    return [it / length for it in total]


class FakeEmbedder:
    """The server as an async context manager."""

    def __init__(self, dims: int = 384) -> None:
        self.dims = dims
        self.mode: Mode = ""
        self.asked: list[Request] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """What EMBEDDING_URL is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def environment(self) -> dict[str, str]:
        """Return what a program needs to use it."""
        return {"EMBEDDING_URL": self.url, "EMBEDDING_MODEL": MODEL}

    @property
    def texts(self) -> list[str]:
        """Everything that was asked for, in order."""
        return [text for request in self.asked for text in request.texts]

    async def start(self) -> None:
        """Listen, again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: connections end, the port refuses more."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    async def reset(self) -> None:
        """Be whole again, and forget what was asked."""
        self.mode, self.dims = "", 384
        self.asked.clear()
        if self._server is None:
            await self.start()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # how every connection ends: its client went, or was killed by its test
        finally:
            self._open.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        _, path, _ = first.split(" ", 2)
        if self.mode == "hang":
            await reader.read()
            raise ConnectionResetError
        kind, _, status = self.mode.partition(" ")
        if path == "/v1/models":
            return _say(writer, int(status) if kind == "status" else 200, b'{"object": "list", "data": []}')
        if path != "/v1/embeddings":
            return _say(writer, 404, b'{"error": {"message": "unknown route"}}')
        asked = json.loads(body)
        self.asked.append(Request(asked["model"], asked["input"], headers.get("authorization", ""), len(body)))
        return self._answer(writer, asked)

    def _answer(self, writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
        kind, _, status = self.mode.partition(" ")
        if kind == "status":
            return _say(writer, int(status), b'{"error": {"message": "as scripted"}}')
        if self.mode == "garbage":
            return _say(writer, 200, b"<html>Welcome to nginx!</html>")
        body = json.dumps(self._embeddings(asked)).encode()
        if self.mode == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
            raise ConnectionResetError
        return _say(writer, 200, body)

    def _embeddings(self, asked: dict[str, Any]) -> dict[str, Any]:
        vectors = [words_as_vector(text, self.dims) for text in asked["input"]]
        spoiled: dict[str, Callable[[], list[list[float]]]] = {
            "nan": lambda: [[math.nan] * self.dims for _ in vectors],
            "zeros": lambda: [[0.0] * self.dims for _ in vectors],
            "few": lambda: vectors[1:],
            "mixed": lambda: [vectors[0][:-1], *vectors[1:]],
        }
        vectors = spoiled.get(self.mode, lambda: vectors)()
        data = [{"object": "embedding", "index": place, "embedding": it} for place, it in enumerate(vectors)]
        if self.mode == "backwards":
            data.reverse()
        if self.mode == "same index":
            data = [item | {"index": 0} for item in data]
        return {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 1}}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _say(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "content-type: application/json"]
    writer.write("\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body)
