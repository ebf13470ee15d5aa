"""A service outside as a real HTTP server: tools call it, it remembers every call and the key it came with.

    POST /act?hold=S    do something, seen at once; answer after S seconds
    GET /acts           what was done: key, words

`python -m tests.fakes.outside` prints its port and ends with its standard input.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

ROOT = Path(__file__).parents[2]


class Outside:
    """The service as a test talks to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def acts(self, words: str) -> list[str]:
        """Return the keys of everything done with these words, in order."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            done: list[dict[str, Any]] = (await http.get(f"{self.url}/acts")).json()
        return [act["key"] for act in done if act["words"] == words]


@asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    """Run one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.outside", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield Outside(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        await process.wait()


class _Service:
    def __init__(self) -> None:
        self.acts: list[dict[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = urlsplit(first.split()[1])
        if path.path == "/act":
            self.acts.append({"key": headers.get("idempotency-key", ""), "words": body.decode()})
            await asyncio.sleep(float(parse_qs(path.query).get("hold", ["0"])[0]))
        said = json.dumps(self.acts).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
        await writer.drain()
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_Service().serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)  # whoever started us holds the other end


if __name__ == "__main__":
    asyncio.run(_main())
