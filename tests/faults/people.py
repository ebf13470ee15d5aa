"""People who hold conversations whatever happens, and remember what they were told and how it ended."""

import asyncio
import random
from collections import Counter
from uuid import uuid4

import httpx2
import msgspec

from appliance.core.clock import monotonic
from tests.client import Client
from tests.fakes.models import expected_text
from tests.faults.chat import Acknowledged, Chat
from tests.waiting import wait_until

ENDS_WITHIN_S = 90.0
"""Longer than any fault and what it takes to recover from it."""
AGAIN_S = 0.5


def why(error: Exception) -> str:
    """Name in a few words why a message was not accepted."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return type(error).__name__
    status, said = error.response.status_code, error.response.text
    return f"{status} {msgspec.json.decode(said)['title'] if said.startswith('{') else said[:40]}"


class Person:
    """One conversation: ask, read the answer to its end, think, ask again."""

    def __init__(self, name: str, client: Client, seed: str) -> None:
        self._name = name
        self._client = client
        self._random = random.Random(seed)
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._talk(), name=name)
        self.acknowledged: list[Acknowledged] = []
        self.ends: Counter[str] = Counter()
        self.gaps: list[float] = []
        self.wrong: list[str] = []
        self.refused: Counter[str] = Counter()
        """Messages that had to be sent again, by what the sender was told at once."""

    async def end(self) -> None:
        """Ask nothing more; return when the last answer has ended."""
        self._over.set()
        await self._task

    async def _talk(self) -> None:
        conversation, number = str(uuid4()), 0
        while not self._over.is_set():
            number += 1
            text = f"{self._name} {number} [[tokens={self._random.randint(10, 120)} delay=30ms]]"
            asked, cursor = await self._ask(conversation, text)
            await self._read(Chat(self._client, asked, cursor))
            try:
                async with asyncio.timeout(self._random.uniform(1.0, 4.0)):
                    await self._over.wait()
            except TimeoutError:
                continue

    async def _ask(self, conversation: str, text: str) -> tuple[Acknowledged, str]:
        """Send a message until it is acknowledged; with its own id it is one message however often it is sent."""
        client_id = str(uuid4())
        while True:
            try:
                said = await self._client.send(conversation, text, client_id=client_id, create=True)
            except (httpx2.HTTPError, AssertionError) as error:
                self.refused[why(error)] += 1
                await asyncio.sleep(AGAIN_S)
                continue
            self.acknowledged.append(Acknowledged(conversation, said["turn"], said["message_id"], text))
            return self.acknowledged[-1], said["cursor"]

    async def _read(self, chat: Chat) -> None:
        began = monotonic()

        async def ended() -> bool:
            return chat.done

        try:
            await wait_until(ended, within_s=ENDS_WITHIN_S, of=f"the end of {chat.asked}")
        except AssertionError as error:
            self.wrong.append(str(error))
            return chat.close()
        end = chat.events[-1]["type"]
        self.ends[end] += 1
        self.gaps.append(max(chat.gap_s, chat.events[0]["at"] - began))
        if end == "done" and chat.shown != expected_text(chat.asked.text):
            self.wrong.append(f"{chat.asked} is shown as {chat.shown!r}")
        return None
