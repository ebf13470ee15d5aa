"""One client's view of one conversation: exactly what it missed, then what comes (PROTOCOLS 8.3)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from agent_image.runner.hub import RETRY_S, Hub
from appliance.core.conversation_events import ConversationEvents, is_known, parse_cursor
from appliance.core.errors import StoreAway
from appliance.core.metrics import OPEN_STREAMS
from appliance.core.records import Event

PING_S = 1.0


class Start(NamedTuple):
    """Where a feed reads on, and what it says before that of what its client missed."""

    generation: str
    stream_id: str
    missed: tuple[Event, ...] = ()


class Feed:
    """Yields events with cursors, a None each silent second, and a snapshot event whenever continuity is lost.

    Its last event is `moving`, when this agent is leaving; one that `stays` gets it only at the very end.
    """

    def __init__(
        self,
        events: ConversationEvents,
        hub: Hub,
        conversation: str,
        where_to_begin: Callable[[], Awaitable[str]],
        ended: Callable[[], Awaitable[tuple[Event, ...]]],
        *,
        stays: bool,
    ) -> None:
        self._events = events
        self._hub = hub
        self._conversation = conversation
        self._where_to_begin = where_to_begin
        self._ended = ended
        self._stays = stays
        self._told_away = False

    async def events(self, cursor: str) -> AsyncIterator[Event | None]:
        """Yield until the client goes, or is to go to another agent."""
        with OPEN_STREAMS.track_inprogress():
            while True:
                start = await self._start(cursor)
                while start is None and not self._hub.leaving:  # Redis is away: keep the client company
                    yield self._news_of_redis()
                    await asyncio.sleep(RETRY_S * 5)
                    start = await self._start(cursor)
                if start is not None:
                    for item in start.missed:
                        yield item
                    async for event in self._live(start.generation, start.stream_id):
                        yield event
                if self._hub.leaving:
                    yield Event(type="moving", cursor="")
                    return
                cursor = ""  # the generation changed: begin again from rows

    async def _start(self, cursor: str) -> Start | None:
        """Find where to read on; None while a store is away."""
        try:
            position = await self._events.position(self._conversation)
            parsed = parse_cursor(cursor)
            if parsed is not None and is_known(parsed, position):
                return Start(*parsed)
            begin = await self._where_to_begin()
            # Asked after the place was found: what ends in between is told twice, not never. And said before the
            # snapshot, with whose cursor nothing is missed any more.
            missed = (*await self._ended(), Event(type="snapshot", cursor=begin))
        except StoreAway:
            return None
        place = parse_cursor(begin)
        return Start(*place, missed) if place else None

    async def _live(self, generation: str, after: str) -> AsyncIterator[Event | None]:
        catch_up = self._hub.is_followed(self._conversation)
        with self._hub.following(self._conversation, after, stays=self._stays) as inbox:
            seen = after
            if catch_up:
                for item in await self._missed(generation, after):
                    seen = item.cursor.partition("-")[2]
                    yield item
            while True:
                try:
                    async with asyncio.timeout(PING_S):
                        arrived = await inbox.get()
                except TimeoutError:
                    yield self._news_of_redis()
                    continue
                if arrived is None:
                    return
                if _after(arrived, seen):
                    yield arrived

    async def _missed(self, generation: str, after: str) -> list[Event]:
        while True:
            try:
                return await self._events.since(self._conversation, generation, after)
            except StoreAway:
                await asyncio.sleep(RETRY_S)

    def _news_of_redis(self) -> Event | None:
        if self._hub.away == self._told_away:
            return None
        self._told_away = self._hub.away
        kind, data = ("waiting_for_store", {"store": "Redis"}) if self._told_away else ("store_back", {})
        return Event(type=kind, cursor="", data=data)


def _after(event: Event, seen: str) -> bool:
    """Whether an event comes after the stream id `seen`."""
    _, *mine = event.cursor.split("-")
    return tuple(map(int, mine)) > tuple(map(int, seen.split("-")))
