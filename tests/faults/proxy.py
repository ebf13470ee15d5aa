"""A bad network on one machine: a TCP proxy whose verbs befall all connections through it, alike for the same seed.

TCP loses nothing in the middle of a connection, so neither does this: what `drop` and `one_way` keep from arriving,
closings and resets included, arrives late when they are lifted, unless `reset` ends the connection first; what `lose`
loses is sent again after TCP's time-out. Only a reply that `tests.faults.replies` swallows is gone for good. As with a
frozen peer, connecting succeeds all the same.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

from appliance.core.clock import monotonic

Direction = Literal["requests", "replies"]
RESENT_S = 0.2
"""Linux sends a lost segment again after this at the earliest, then after twice as long, and so on."""
_CHUNK = 65536
_ABORT = struct.pack("ii", 1, 0)  # linger of 0 s: closing sends RST instead of FIN


class Watch(Protocol):
    """What looks into one connection; it may keep bytes back and gives on what is left."""

    def requests(self, data: bytes) -> bytes: ...

    def replies(self, data: bytes) -> bytes: ...


class Blind:
    """Gives on everything as it is."""

    def requests(self, data: bytes) -> bytes:
        return data

    replies = requests


@dataclass(frozen=True)
class Weather:
    """What befalls all connections at the moment."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    held: tuple[Direction, ...] = ()
    listening: bool = True

    def lag(self, phases: random.Random) -> float:
        """Draw how late the next bytes are, in seconds."""
        late, resent_s = self.delay_s + phases.uniform(0.0, self.jitter_s), RESENT_S
        while phases.random() < self.loss:
            late, resent_s = late + resent_s, 2 * resent_s
        return late


class Proxy:
    """Passes on to the host and port of `url`, which programs are given as this proxy's own `url` instead.

    Each verb replaces the one before it; `reset` alone happens once and changes nothing.
    """

    def __init__(self, url: str, *, seed: int = 0, watch: Callable[[], Watch] = Blind) -> None:
        self._address = urlsplit(url)
        self.target = (self._address.hostname or "127.0.0.1", self._address.port or 0)
        self.seed = seed
        self.watch = watch
        self.weather = Weather()
        self._changed = asyncio.Condition()
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._count = 0
        self._server: asyncio.Server | None = None
        self._reserved = socket.socket()  # bound for good, so that nobody takes the port while it refuses
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]

    @property
    def url(self) -> str:
        """The target's URL with this proxy in its place."""
        user, at, _ = self._address.netloc.rpartition("@")
        return urlunsplit(self._address._replace(netloc=f"{user}{at}127.0.0.1:{self.port}"))

    @property
    def connections(self) -> int:
        """How many go through it now."""
        return len(self._connections)

    async def __aenter__(self) -> "Proxy":
        await self._become(Weather())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        await self.reset()
        self._reserved.close()

    async def pass_on(self) -> None:
        """Good weather: everything arrives at once, late bytes included."""
        await self._become(Weather())

    async def delay(self, ms: float, jitter_ms: float = 0.0) -> None:
        """Let bytes take `ms` and up to `jitter_ms` more each way, in their order."""
        await self._become(Weather(ms / 1000, jitter_ms / 1000))

    async def lose(self, share: float, jitter_ms: float = 0.0) -> None:
        """Lose this share of what is sent, each way, so that it comes late; the rest takes up to `jitter_ms`."""
        await self._become(Weather(jitter_s=jitter_ms / 1000, loss=share))

    async def drop(self) -> None:
        """Let nothing arrive, either way; connections stay open."""
        await self._become(Weather(held=("requests", "replies")))

    async def one_way(self) -> None:
        """Let requests arrive and no reply."""
        await self._become(Weather(held=("replies",)))

    async def reset(self) -> None:
        """End all connections with RST on both sides, whatever was under way."""
        tasks = list(self._connections)
        for task in tasks:
            self._connections[task].abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse(self) -> None:
        """Refuse new connections; those there are go on."""
        await self._become(Weather(listening=False))

    async def held_back(self, direction: Direction) -> None:
        """Return once bytes of this direction may arrive."""
        async with self._changed:
            await self._changed.wait_for(lambda: direction not in self.weather.held)

    async def _become(self, weather: Weather) -> None:
        async with self._changed:
            self.weather = weather
            self._changed.notify_all()
        if self._server is None and weather.listening:
            self._server = await asyncio.start_server(self._welcome, "127.0.0.1", self.port, reuse_port=True)
        elif self._server and not weather.listening:
            self._server.close()
            self._server = None

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        connection = Connection(self, self._count, reader, writer)
        task = asyncio.create_task(connection.run())
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)


class Connection:
    """One connection through the proxy: a pipe each way."""

    def __init__(self, proxy: Proxy, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._number = number
        self._reader = reader
        self._writers = [writer]

    async def run(self) -> None:
        """Connect to the target and pass on until both sides have closed, or one has reset."""
        try:
            reader, writer = await asyncio.open_connection(*self._proxy.target)
            self._writers.append(writer)
            watch = self._proxy.watch()
            async with asyncio.TaskGroup() as group:
                self._pipe("requests", self._reader, writer, watch.requests, group)
                self._pipe("replies", reader, self._writers[0], watch.replies, group)
        except* OSError:
            self.abort()
        finally:
            for writer in self._writers:
                writer.close()

    def _pipe(
        self, way: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        look: Callable[[bytes], bytes], group: asyncio.TaskGroup,
    ) -> None:  # fmt: skip
        pipe = Pipe(self._proxy, way, random.Random(f"{self._proxy.seed}:{self._number}:{way}"))
        group.create_task(pipe.take(reader))
        group.create_task(pipe.give(writer, look))

    def abort(self) -> None:
        """Send RST to both sides."""
        for writer in self._writers:
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort()


class Pipe:
    """Bytes on their way in one direction, each with the moment at which it may arrive at the earliest."""

    def __init__(self, proxy: Proxy, way: Direction, phases: random.Random) -> None:
        self._proxy = proxy
        self._way: Direction = way
        self._phases = phases
        self._under_way: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(64)

    async def take(self, reader: asyncio.StreamReader) -> None:
        """Read until the sender closes or resets; that is under way like any byte."""
        while True:
            data = await _read(reader)
            await self._under_way.put((monotonic() + self._proxy.weather.lag(self._phases), data))
            if not data or isinstance(data, OSError):
                return

    async def give(self, writer: asyncio.StreamWriter, look: Callable[[bytes], bytes]) -> None:
        """Let arrive what is due, in order; end with the sender's closing, or fail with its reset."""
        while True:
            due, data = await self._under_way.get()
            await asyncio.sleep(max(0.0, due - monotonic()))
            await self._proxy.held_back(self._way)
            if isinstance(data, OSError):
                raise data
            if not data:
                return writer.write_eof()
            writer.write(look(data))
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes | OSError:
    try:
        return await reader.read(_CHUNK)
    except OSError as error:
        return error
