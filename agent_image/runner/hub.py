"""One blocking read serves every open conversation of this runner (PROTOCOLS 8.4)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from appliance.core import logs
from appliance.core.clock import beat, monotonic
from appliance.core.conversation_events import ConversationEvents, event
from appliance.core.errors import StoreAway
from appliance.core.records import Event
from appliance.core.redis import Redis, answering

log = logs.get("runner")
REARM_S = 0.02
"""A new conversation ends the current read, but not more often than this."""
RETRY_S = 0.1
GENERATION_S = 0.5


class Hub:
    """Follows streams for any number of readers; an inbox receives events, or None as its last.

    None means: begin again from rows, since the generation changed, or at another agent when this one is `leaving`.
    """

    def __init__(self, redis: Redis, events: ConversationEvents, boot: str) -> None:
        self._redis = redis
        self._events = events
        self._boot = boot
        self._positions: dict[str, str] = {}
        self._inboxes: dict[str, set[asyncio.Queue[Event | None]]] = {}
        self._staying: set[asyncio.Queue[Event | None]] = set()
        self._wake_seen = self._tasks_seen = "$"
        self.tasks_wait = asyncio.Event()
        """Set when somebody told of tasks that wait."""
        self._waker: asyncio.Task[None] | None = None
        self.generation: str | None = None
        self.away = False
        """Whether Redis does not answer at the moment."""
        self.leaving = False
        """Whether readers are to go to another agent."""
        self._heard_at = monotonic()

    @property
    def silent_s(self) -> float:
        """For how many seconds Redis has not answered."""
        return monotonic() - self._heard_at

    @contextmanager
    def following(self, conversation: str, after: str, *, stays: bool = False) -> Iterator[asyncio.Queue[Event | None]]:
        """Put a conversation's events into an inbox: those after `after` if nobody followed it yet, else new ones.

        A reader that `stays` is not sent away before the very end.
        """
        inbox: asyncio.Queue[Event | None] = asyncio.Queue()
        stream = self._events.stream(conversation)
        readers = self._inboxes.setdefault(stream, set())
        readers.add(inbox)
        if stays:
            self._staying.add(inbox)
        if stream not in self._positions:
            self._positions[stream] = after
            self._wake_soon()
        try:
            yield inbox
        finally:
            readers.discard(inbox)
            self._staying.discard(inbox)
            if not readers and self._inboxes.get(stream) is readers:
                del self._inboxes[stream], self._positions[stream]

    def is_followed(self, conversation: str) -> bool:
        """Whether somebody follows this conversation here, so that a new reader must catch up by itself."""
        return self._events.stream(conversation) in self._positions

    def _wake_soon(self) -> None:
        if self._waker is None or self._waker.done():
            self._waker = asyncio.create_task(self._wake())

    async def _wake(self) -> None:
        await asyncio.sleep(REARM_S / 2)
        with suppress(StoreAway):
            async with answering():
                wake = self._redis.keys.wake(self._boot)
                pipe = self._redis.data.pipeline(transaction=False)
                pipe.xadd(wake, {"n": "1"}, maxlen=4, approximate=False)
                pipe.expire(wake, 60)
                await pipe.execute()

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._watch_generation())
            while True:
                try:
                    await self._read_once()
                    self.away, self._heard_at = False, monotonic()
                except StoreAway as error:
                    if not self.away:
                        log.warning("events_unread", error=str(error))
                    self.away = True
                    await asyncio.sleep(RETRY_S)

    async def _read_once(self) -> None:
        wake, tasks = self._redis.keys.wake(self._boot), self._redis.keys.tasks_wake
        asked = self._positions | {wake: self._wake_seen, tasks: self._tasks_seen}
        for stream, entries in (await self._events.read(asked)).items():
            if stream == wake:
                self._wake_seen = entries[-1][0]
                continue
            if stream == tasks:
                self._tasks_seen = entries[-1][0]
                self.tasks_wait.set()
                continue
            # Somebody who began to follow meanwhile may stand further back: then the next read serves both.
            if self._positions.get(stream) != asked[stream] or self.generation is None:
                continue
            self._positions[stream] = entries[-1][0]
            for entry in entries:
                self._deliver(stream, event(self.generation, entry))

    def _deliver(self, stream: str, item: Event | None) -> None:
        for inbox in self._inboxes.get(stream, ()):
            inbox.put_nowait(item)

    async def _watch_generation(self) -> None:
        """Tell every reader when Redis lost its data: they begin again from rows."""
        while True:
            try:
                async with answering():
                    found = await self._redis.data.get(self._redis.keys.generation)
                self._heard_at = monotonic()
                now = str(found) if found else None
                if now is not None and now != self.generation:
                    known, self.generation = self.generation, now
                    if known is not None:
                        self._begin_again()
            except StoreAway:
                pass  # the reading loop says so
            await beat(GENERATION_S if self.generation else RETRY_S)

    def send_away(self, *, everybody: bool = False) -> None:
        """Tell readers to go on at another agent: those that do not stay, or everybody."""
        self.leaving = True
        for inboxes in self._inboxes.values():
            for inbox in inboxes if everybody else inboxes - self._staying:
                inbox.put_nowait(None)

    def _begin_again(self) -> None:
        log.warning("generation_changed", conversations=len(self._inboxes))
        streams, self._inboxes, self._positions = self._inboxes, {}, {}
        for inboxes in streams.values():
            for inbox in inboxes:
                inbox.put_nowait(None)
