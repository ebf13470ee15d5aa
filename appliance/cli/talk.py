"""A person at the JSON API: ask, and follow the answer over whatever agents are alive."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Self

import httpx2

from appliance.core.errors import BadInput, NexusError, StoreAway

SILENCE_S = 2.5
OPENING_S = 0.8
RECONNECT_S = 0.1
GIVE_UP_S = 60.0
RECORDED_WITHIN_S = 15.0
ENDS = ("done", "failed", "cancelled")
Event = dict[str, Any]


class Talk:
    """One conversation through the gateway. Adds events of its own: `lost` and `connected`."""

    def __init__(self, url: str, token: str, conversation: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"}
        timeout = httpx2.Timeout(10, connect=2)
        # A customer's proxy settings must not catch this machine's own address.
        self._http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False)
        self._new = not conversation
        self.conversation = conversation or str(uuid.uuid4())
        self.turn = ""
        self._cursor = self._first = ""
        self._tries = 0
        self.began = time.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @property
    def _path(self) -> str:
        return f"/api/v1/conversations/{self.conversation}"

    def ms(self) -> int:
        """Milliseconds since the question was sent."""
        return round((time.monotonic() - self.began) * 1000)

    async def ask(self, text: str) -> None:
        """Send a message; return once it is committed.

        Raises:
            BadInput: refused, with the reason. StoreAway: nobody accepts messages.
        """
        body = {"text": text, "client_id": str(uuid.uuid4()), "create": self._new}
        self.began = time.monotonic()
        while True:
            try:
                answer = await self._http.post(f"{self._path}/messages", json=body, params={"try": self._tries})
            except httpx2.HTTPError as error:
                self._give_up_after(10, f"The gateway does not answer ({type(error).__name__}).")
            else:
                if answer.status_code == 202:
                    accepted = answer.json()
                    self.turn = accepted["turn"]
                    self._cursor = self._first = accepted["cursor"]
                    return
                if answer.status_code < 500 and answer.status_code != 429:
                    raise BadInput(problem_of(answer))
                self._give_up_after(10, problem_of(answer))
            self._tries += 1
            await asyncio.sleep(0.3)

    def _give_up_after(self, seconds: float, why: str) -> None:
        if time.monotonic() - self.began > seconds:
            raise StoreAway(why)

    async def events(self) -> AsyncIterator[Event]:
        """Yield the turn's events up to its end, reconnecting as often as needed."""
        heard = time.monotonic()
        while True:
            opened = False
            try:
                async for event in self._connection(self._cursor):
                    if not opened:
                        opened = True
                        yield {"type": "connected", "at_ms": self.ms(), "try": self._tries}
                    heard = time.monotonic()
                    self._cursor = event.get("cursor") or self._cursor
                    self._first = self._first or self._cursor  # unknown when Redis could not say it on accepting
                    self._tries += event["type"] == "moving"
                    if event["type"] not in ("ping", "moving") and event.get("turn") in ("", None, self.turn):
                        yield event | {"at_ms": self.ms()}
                    if event.get("turn") == self.turn and event["type"] in ENDS:
                        return
            except (httpx2.HTTPError, TimeoutError) as error:
                silent = isinstance(error, (TimeoutError, httpx2.ReadTimeout))
                self._tries += silent or not opened
                yield {"type": "lost", "at_ms": self.ms(), "why": "silent" if silent else "broken"}
            if time.monotonic() - heard > GIVE_UP_S:
                raise StoreAway("No agent has answered for a minute; the question is kept and will be answered")
            await asyncio.sleep(RECONNECT_S)

    async def recorded(self) -> list[Event]:
        """Read the turn's events once more from its beginning: what a tab must have seen, each once.

        Raises:
            StoreAway: no agent gives them now.
        """
        try:
            async with asyncio.timeout(RECORDED_WITHIN_S):
                return await self._recorded()
        except (httpx2.HTTPError, TimeoutError) as error:
            raise StoreAway("The turn's events cannot be read again", cause=type(error).__name__) from None

    async def _recorded(self) -> list[Event]:
        found = []
        async with aclosing(self._connection(self._first)) as events:
            async for event in events:
                if event.get("turn") == self.turn:
                    found.append(event)
                if event.get("turn") == self.turn and event["type"] in ENDS:
                    return found
        raise StoreAway("The turn's events cannot be read again", cause="no end")

    async def _connection(self, cursor: str) -> AsyncGenerator[Event, None]:
        params = {"cursor": cursor, "turn": self.turn, "try": str(self._tries)}
        limits = httpx2.Timeout(SILENCE_S, connect=OPENING_S)
        request = self._http.build_request("GET", f"{self._path}/events", params=params, timeout=limits)
        # A frozen agent accepts a connection and never answers; a healthy one answers at once.
        async with asyncio.timeout(OPENING_S):
            answer = await self._http.send(request, stream=True)
        async with aclosing(answer):
            if answer.status_code != 200:
                raise httpx2.ReadError(f"answered {answer.status_code}")
            kind = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield {"type": kind, **json.loads(value)}

    async def answer(self, question: str, choice: str) -> str:
        """Answer what a turn asks; return the answer that counts: the first one. BadInput with the reason."""
        answer = await self._http.post(
            f"{self._path}/questions/{question}", json={"answer": choice}, params={"try": self._tries}
        )
        if answer.status_code >= 500:
            raise StoreAway(problem_of(answer))
        if answer.status_code != 200:
            raise BadInput(problem_of(answer))
        return str(answer.json()["answer"])

    async def committed(self) -> str:
        """Return the newest committed message of the conversation."""
        answer = await self._http.get(self._path, params={"try": self._tries})
        if answer.status_code != 200:
            raise NexusError(problem_of(answer))
        return str(answer.json()["messages"][-1]["text"])


def problem_of(answer: httpx2.Response) -> str:
    """Return an error answer's sentence."""
    try:
        problem = answer.json()
        return str(problem.get("detail") or problem.get("title"))
    except ValueError:
        return f"The gateway answered {answer.status_code}."
