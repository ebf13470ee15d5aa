"""`web_fetch` against a real server: what it reads, and what it leaves alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2
import pytest

from agent_image.runner.tools import Call, ToolFailed
from agent_image.runner.tools import web_fetch as room
from agent_image.runner.tools.web_fetch import MAX_BYTES, fetcher
from appliance.core.records import User

PAGE = "<html><head><title>T</title><script>steal()</script></head><body><h1>Ada</h1><p>1 &lt; 2</p></body></html>"
CALL = Call("k", User("u", "ada"), "t", "c", "")


class Site:
    """A web server in this process that knows a few pages."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        self.hosts: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        self.asked.append(path)
        self.hosts += [line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")]
        status, kind, body = self.page(path)
        more = f"location: {body.decode()}\r\n" if status == 302 else ""
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}connection: close\r\n\r\n".encode() + body)
        with_errors = asyncio.create_task(writer.drain())
        await asyncio.gather(with_errors, return_exceptions=True)
        writer.close()

    def page(self, path: str) -> tuple[int, str, bytes]:
        to = path.partition("?to=")[2]
        return {
            "/": (200, "text/html; charset=utf-8", PAGE.encode()),
            "/plain": (200, "text/plain; charset=latin-1", "naïve".encode("latin-1")),
            "/picture": (200, "image/png", b"\x89PNG"),
            "/large": (200, "text/plain", b"x" * (MAX_BYTES + 5)),
            "/loop": (302, "text/plain", b"/loop"),
            "/gone": (404, "text/plain", b"no"),
        }.get(path, (302, "text/plain", to.encode()))


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running


async def fetch(url: str, allowed: Sequence[str] = ("127.0.0.1", "localhost"), *, private: bool = True) -> str:
    return str(await fetcher(allowed, private=private).run(CALL, url=url))


async def test_a_page_becomes_its_text_with_its_source(site: Site) -> None:
    text = await fetch(f"http://127.0.0.1:{site.port}/")
    assert text.startswith(f"<page url='http://127.0.0.1:{site.port}/'>")
    assert "Ada" in text
    assert "1 < 2" in text
    assert "steal" not in text


async def test_other_text_keeps_its_characters(site: Site) -> None:
    assert "naïve" in await fetch(f"http://127.0.0.1:{site.port}/plain")


async def test_a_large_page_is_cut_visibly(site: Site) -> None:
    text = await fetch(f"http://127.0.0.1:{site.port}/large")
    assert text.count("x") == MAX_BYTES
    assert "(cut: the page is larger)" in text


async def test_a_redirect_is_followed_and_its_end_is_named(site: Site) -> None:
    text = await fetch(f"http://127.0.0.1:{site.port}/go?to=/plain")
    assert text.startswith(f"<page url='http://127.0.0.1:{site.port}/plain'>")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/gone", "answered HTTP 404"), ("/picture", "is not text but image/png"), ("/loop", "more than 5 redirects")],
)
async def test_what_cannot_be_read_is_told(site: Site, path: str, sentence: str) -> None:
    with pytest.raises(ToolFailed, match=sentence):
        await fetch(f"http://127.0.0.1:{site.port}{path}")


@pytest.mark.parametrize(
    "url", ["ftp://localhost/", "localhost", "http:///x", "http://ada:pw@localhost/", "file:///etc/passwd"]
)
async def test_only_plain_web_addresses_are_read(url: str) -> None:
    with pytest.raises(ToolFailed, match="no plain http or https address"):
        await fetch(url)


async def test_a_host_that_is_not_allowed_is_not_asked(site: Site) -> None:
    with pytest.raises(ToolFailed, match="not among the allowed hosts"):
        await fetch(f"http://localhost:{site.port}/", ["example.org", "*.example.org"])
    assert site.asked == []


async def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(site: Site) -> None:
    async with serving() as inside:
        with pytest.raises(ToolFailed, match="localhost is not among the allowed hosts"):
            await fetch(f"http://127.0.0.1:{site.port}/go?to=http://localhost:{inside.port}/", ["127.0.0.1"])
        assert inside.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0.0.0.0", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_private_networks_are_left_alone(site: Site, host: str) -> None:
    with pytest.raises(ToolFailed, match="inside a private network"):
        await fetch(f"http://{host}:{site.port}/", ["*"], private=False)
    assert site.asked == []


async def test_a_name_is_looked_up_once_and_that_address_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means somebody else a moment later ("DNS rebinding") leads nowhere."""
    looked: list[str] = []

    async def address(host: str, port: int, *, private: bool) -> str:
        looked.append(host)
        return "127.0.0.1"

    monkeypatch.setattr(room, "_address", address)
    assert "Ada" in await fetch(f"http://nobody.invalid:{site.port}/", ["nobody.invalid"])
    assert looked == ["nobody.invalid"]
    assert site.hosts == [f"nobody.invalid:{site.port}"]


async def test_a_host_that_does_not_exist_is_told() -> None:
    with pytest.raises(ToolFailed, match=r"there is no host nobody\.invalid"):
        await fetch("http://nobody.invalid/", ["*"])


async def test_a_server_that_is_gone_is_an_error_for_whoever_calls() -> None:
    async with serving() as gone:
        port = gone.port
    with pytest.raises(httpx2.HTTPError):
        await fetch(f"http://127.0.0.1:{port}/")
