"""An open tab: one turn and its answer, followed through the gateway as the page does it (chat-stream.js)."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from itertools import pairwise
from typing import Any

import httpx2
import msgspec

from appliance.core.clock import monotonic
from tests.client import ENDS_A_TURN, SILENCE_S, Client, sse, within
from tests.fakes.models import expected_text

OPENING_S = 0.4
"""After silence a connection that is not answered is given up; each one is given longer than the one before."""
RECONNECT_S = 0.1
ENDS_WITHIN_S = 45.0
_SAYS_NOTHING = ("accepted", "started", "waiting_for_store", "store_back", "moving")
"""Of the answer itself."""


class Acknowledged(msgspec.Struct, frozen=True):
    """A message that a client was told to be accepted: from then on it must be answered, whatever dies."""

    conversation: str
    turn: str
    message: str
    text: str


class Chat:
    """One question, asked; the answer is followed from then on."""

    def __init__(self, tab: Client, asked: Acknowledged, cursor: str) -> None:
        self._tab = tab
        self.asked = asked
        self.events: list[dict[str, Any]] = []
        """Everything but pings, each with `at`, the moment it arrived."""
        self._cursor = cursor
        self._tries = 0
        self._patience_s = SILENCE_S
        self._task = asyncio.create_task(self._follow())

    @property
    def done(self) -> bool:
        """Whether the tab shows that the turn has ended."""
        return self._task.done()

    @property
    def words(self) -> int:
        """How many pieces of the answer have arrived."""
        return sum(event["type"] == "token" for event in self.events)

    def first(self, kind: str) -> dict[str, Any] | None:
        """Return the first event of a kind, if it has arrived."""
        return next((event for event in self.events if event["type"] == kind), None)

    @property
    def restarted_at(self) -> float:
        """When another attempt began, by the id of its first event: the tab may have heard of it later."""
        told = self.first("attempt_restarted")
        assert told is not None, f"nothing was begun again: {[event['type'] for event in self.events]}"
        return int(told["cursor"].split("-")[1]) / 1000 - time.time() + monotonic()

    @property
    def gap_s(self) -> float:
        """The longest time in which nothing was shown, from the first word to the end."""
        at = [event["at"] for event in self.events if event["type"] not in _SAYS_NOTHING]
        return max((later - earlier for earlier, later in pairwise(at)), default=0.0)

    async def ended(self) -> "Chat":
        """Wait for the end, which must be the whole answer, each word once."""
        async with asyncio.timeout(ENDS_WITHIN_S):
            await asyncio.shield(self._task)
        assert self.events[-1]["type"] == "done", f"the answer ended as {self.events[-1]}"
        assert self.shown == expected_text(self.asked.text), f"the tab shows {self.shown!r}"
        return self

    @property
    def shown(self) -> str:
        """The answer as far as the tab shows it."""
        last, said = max(event["attempt"] for event in self.events), ""
        for event in self.events:
            if event["type"] == "snapshot":
                said = event.get("text", "")
            elif event["type"] == "token" and event["attempt"] == last:
                said += event["text"]
        return said

    def close(self) -> None:
        """Close the tab."""
        self._task.cancel()

    async def _follow(self) -> None:
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._read(await self._open(stack))
                    return
            except (TimeoutError, httpx2.HTTPError, AssertionError):  # the last one: a transcript was refused
                self._tries += 1
            await asyncio.sleep(RECONNECT_S)

    async def _open(self, stack: AsyncExitStack) -> httpx2.Response:
        path = f"/api/v1/conversations/{self.asked.conversation}/events"
        params = {"cursor": self._cursor, "try": str(self._tries)}
        try:
            async with asyncio.timeout(self._patience_s):
                answer = await stack.enter_async_context(self._tab.http.stream("GET", path, params=params))
        except TimeoutError:
            self._patience_s = min(SILENCE_S, self._patience_s * 1.5)
            raise
        answer.raise_for_status()
        self._patience_s = SILENCE_S
        return answer

    async def _read(self, answer: httpx2.Response) -> None:
        """Read until the turn's end; a connection that ends earlier is an error like any other."""
        try:
            async for event in within(sse(answer), SILENCE_S):
                self._cursor = event.get("cursor") or self._cursor
                if event["type"] != "ping":
                    self.events.append(event | {"at": monotonic()})
                if event.get("turn") == self.asked.turn and event["type"] in ENDS_A_TURN:
                    if event["type"] == "done" and not self._equals(event):
                        await self._read_transcript()
                    return
                if event["type"] == "snapshot" and not event.get("turn") and await self._read_transcript():
                    return
        except TimeoutError:
            self._patience_s = OPENING_S
            raise
        raise httpx2.RemoteProtocolError("the stream ended")

    def _equals(self, done: dict[str, Any]) -> bool:
        """Whether the text shown is the committed one; on a difference the page reads the message (PROTOCOLS 8.2)."""
        shown = self.shown
        return (len(shown), sha256(shown.encode()).hexdigest()[:16]) == (done["length"], done["checksum"])

    async def _read_transcript(self) -> bool:
        """Show what was committed instead of the events that were missed; whether the turn's end is one of them."""
        for message in (await self._tab.transcript(self.asked.conversation))["messages"]:
            if message["turn_id"] == self.asked.turn and message["role"] == "assistant":
                known = {"attempt": message["meta"]["attempt"], "text": message["text"], "at": monotonic()}
                self.events += [known | {"type": "snapshot"}, known | {"type": "done"}]
                return True
        return False


class Crowd:
    """People who say something every now and then through the gateway, whatever happens."""

    def __init__(self, client: Client, heard: Callable[[Acknowledged], None], every_s: float = 0.25) -> None:
        self._client = client
        self._heard = heard
        self._every_s = every_s
        self.unanswered = 0
        """Messages that were not accepted; their senders saw that at once and lost nothing."""
        self._task = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        conversation = ""
        number = 0
        while True:
            number += 1
            try:
                conversation = conversation or await self._client.create()
                await ask(self._client, conversation, f"and {number}? [[tokens=3]]", self._heard)
            except (httpx2.HTTPError, AssertionError):
                self.unanswered += 1
            await asyncio.sleep(self._every_s)

    async def end(self) -> None:
        """Let them go home."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def ask(
    client: Client, conversation: str, text: str, heard: Callable[[Acknowledged], None]
) -> tuple[Acknowledged, str]:
    """Send a message; return what was acknowledged and the cursor from which to follow."""
    said = await client.send(conversation, text)
    asked = Acknowledged(conversation, said["turn"], said["message_id"], text)
    heard(asked)
    return asked, said["cursor"]
