"""A person at the JSON API, reading events like a browser does."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import msgspec

SILENCE_S, ENDS_WITHIN_S = 2.5, 60.0
ENDS_A_TURN = ("done", "failed", "cancelled")


class Client:
    """A person at the JSON API."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=httpx2.Timeout(60, connect=5)
        )

    async def create(self) -> str:
        """Begin a conversation and return its id."""
        answer = await self.http.post("/api/v1/conversations", json={})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def send(self, conversation: str, text: str, **more: Any) -> dict[str, Any]:
        """Send a message and return what was accepted."""
        answer = await self.http.post(f"/api/v1/conversations/{conversation}/messages", json={"text": text, **more})
        if answer.status_code == 503:
            answer.raise_for_status()  # nobody answers at the moment: the same client_id may be sent again
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def transcript(self, conversation: str) -> dict[str, Any]:
        """Return a conversation as committed."""
        answer = await self.http.get(f"/api/v1/conversations/{conversation}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def events(
        self, conversation: str, cursor: str = "", *, turn: str = "", attempt: int = 0
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Follow a conversation over one connection; pings come as {"type": "ping"}."""
        params = {"cursor": cursor, "turn": turn, "try": str(attempt)}
        async with self.http.stream("GET", f"/api/v1/conversations/{conversation}/events", params=params) as answer:
            if answer.status_code == 503:
                answer.raise_for_status()  # as a browser takes it: nobody answers at the moment, try again
            assert answer.status_code == 200, await answer.aread()
            async for event in sse(answer):
                yield event

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()


async def sse(answer: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a server-sent-events response."""
    kind = ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield {"type": kind, **msgspec.json.decode(value)}


async def follow_to_the_end(client: Client, conversation: str, turn: str, cursor: str = "") -> list[dict[str, Any]]:
    """Follow like a browser: reconnect with the last cursor; silence, a failed connection or `moving` raises `try`.

    AssertionError, with what was seen, when there is no end after a minute.
    """
    seen: list[dict[str, Any]] = []
    attempt, last, until = 0, "", time.monotonic() + ENDS_WITHIN_S
    while time.monotonic() < until:
        try:
            async with aclosing(client.events(conversation, cursor, turn=turn, attempt=attempt)) as feed:
                async for event in within(feed, SILENCE_S):
                    cursor = event.get("cursor") or cursor
                    attempt += event["type"] == "moving"
                    if event["type"] != "ping":
                        seen.append(event)
                    if event.get("turn") == turn and event["type"] in ENDS_A_TURN:
                        return seen
                    if time.monotonic() > until:  # there are pings without end
                        break
        except (TimeoutError, httpx2.HTTPError) as error:
            attempt, last = attempt + 1, repr(error)
        await asyncio.sleep(0.05)
    ends = [f"{it.get('turn')} {it['type']}" for it in seen[-8:]]
    raise AssertionError(f"turn {turn} has no end; {attempt} tries, the last: {last}; events: {', '.join(ends)}")


async def within(feed: AsyncIterator[dict[str, Any]], silence_s: float) -> AsyncIterator[dict[str, Any]]:
    """Pass a feed on; TimeoutError when nothing, not even a ping, comes for `silence_s`."""
    while True:
        try:
            async with asyncio.timeout(silence_s):
                event = await anext(feed)
        except StopAsyncIteration:
            return
        yield event
