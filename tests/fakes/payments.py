"""A service outside the cluster that does something for whoever asks, once a key: what a payment provider is.

    async with Payments() as payments:
        …                                    # POST {payments.url}/ with the header `idempotency-key`
        payments.effects["k"], payments.asked["k"]

A key that is known is answered with what was done then, so a task that is tried again does nothing twice.
"""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Self


class Payments:
    """A small HTTP server in this process."""

    def __init__(self) -> None:
        self.effects: dict[str, int] = {}
        """Key → the number of what was done for it."""
        self.asked: Counter[str] = Counter()
        """Key → how often it was asked for: executions."""
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; who is connected is cut off."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other until the client goes, be it by its death."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(fields.get("content-length", "0")))
                said = str(self._do(fields["idempotency-key"]))
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(said)}\r\n\r\n{said}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went, mostly by a SIGKILL of this very test: what was done for it stays done
        finally:
            writer.close()

    def _do(self, key: str) -> int:
        self.asked[key] += 1
        return self.effects.setdefault(key, len(self.effects) + 1)
