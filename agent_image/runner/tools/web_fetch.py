"""The tool `web_fetch`: one page as text, from hosts that are allowed, never from inside (DESIGN 12).

A host name is looked up once and that very address is connected to, so a name that changes between the look and the
call ("DNS rebinding") leads nowhere. Each redirect is checked like the first address.
"""

import asyncio
import html
import ipaddress
import socket
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx2
import nh3
from msgspec import Meta

from agent_image.runner.tools.tool import Call, Tool, ToolFailed, make

MAX_BYTES = 1024 * 1024
MAX_REDIRECTS = 5
SECONDS = 15.0
TEXTUAL = ("text/", "application/json", "application/xml", "application/xhtml+xml")


def fetcher(allowed: Sequence[str], *, private: bool) -> Tool:
    """Return the tool for hosts that match one of the patterns; `private` lets it reach addresses inside."""

    async def web_fetch(_call: Call, url: Annotated[str, Meta(description="a whole http or https address")]) -> str:
        """Read one web page or text file; returns its text."""
        async with httpx2.AsyncClient(trust_env=False, timeout=SECONDS, follow_redirects=False) as http:
            for _ in range(MAX_REDIRECTS + 1):
                request = await _request(http, url, allowed, private=private)
                answer = await http.send(request, stream=True)
                try:
                    if not answer.is_redirect:
                        return f"<page url={url!r}>\n{await _text(url, answer)}\n</page>"
                    url = urljoin(url, answer.headers.get("location", ""))
                finally:
                    await answer.aclose()
        raise ToolFailed(f"more than {MAX_REDIRECTS} redirects, the last to {url}")

    return make(web_fetch, "pure")


async def _request(http: httpx2.AsyncClient, url: str, allowed: Sequence[str], *, private: bool) -> httpx2.Request:
    """Return the request to the one address that was checked."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host or parts.username:
        raise ToolFailed(f"{url} is no plain http or https address")
    if not any(fnmatchcase(host, pattern) for pattern in allowed):
        raise ToolFailed(f"{host} is not among the allowed hosts ({', '.join(allowed)}); WEB_FETCH_ALLOW names them")
    address = await _address(host, parts.port or (443 if parts.scheme == "https" else 80), private=private)
    literal = f"[{address}]" if ":" in address else address
    pinned = urlunsplit(parts._replace(netloc=f"{literal}:{parts.port}" if parts.port else literal, fragment=""))
    headers = {"Host": parts.netloc, "User-Agent": "nexus-web-fetch"}
    return http.build_request("GET", pinned, headers=headers, extensions={"sni_hostname": host})


async def _address(host: str, port: int, *, private: bool) -> str:
    """Look a host up; refuse it if any of its addresses is not a public one."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise ToolFailed(f"there is no host {host}") from None
    addresses = [str(it[4][0]) for it in found]
    inside = [it for it in addresses if not _is_public(it)]
    if inside and not private:
        raise ToolFailed(f"{host} is inside a private network ({inside[0]}); WEB_FETCH_PRIVATE allows that")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return parsed.is_global and not parsed.is_multicast


async def _text(url: str, answer: httpx2.Response) -> str:
    kind = answer.headers.get("content-type", "text/plain").lower()
    if answer.status_code >= 400:
        raise ToolFailed(f"{url} answered HTTP {answer.status_code}")
    if not kind.startswith(TEXTUAL):
        raise ToolFailed(f"{url} is not text but {kind.partition(';')[0]}")
    body = b""
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            break
    text = body[:MAX_BYTES].decode(answer.charset_encoding or "utf-8", "replace")
    cut = "\n(cut: the page is larger)" if len(body) > MAX_BYTES else ""
    return ("\n".join(filter(None, map(str.strip, _plain(text).splitlines()))) if "html" in kind else text) + cut


def _plain(page: str) -> str:
    return html.unescape(nh3.clean(page, tags=set(), clean_content_tags={"script", "style", "noscript", "template"}))
