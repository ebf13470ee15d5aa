"""The liveness port: a signed hello, then an open connection whose end is news (PROTOCOLS 6.1, 6.4).

One line of JSON each way. Both carry an HMAC-SHA256 of the cluster secret over their fields, with the asker's nonce and
time, so that a re-used address or a stranger's reply is not mistaken for a living keeper.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from appliance.core.settings import Settings

PROBE_S = 0.1
"""A probe that is not answered in this time has failed: a paused process still accepts TCP."""
_MAX_SKEW_S = 24 * 3600.0
"""A hello older than a day is a replay; nonces do the rest, since hosts' clocks may be hours apart (I12)."""
_MAX_LINE = 4096


class Hello(msgspec.Struct, frozen=True):
    """What a living keeper says of itself."""

    agent: str
    boot: str
    epoch: int
    role: str
    holds: bool = False
    """Whether it holds the lease of its epoch and may act on it."""


class Liveness:
    """Serve hellos to peers and ask them for theirs."""

    def __init__(self, settings: Settings, describe: Callable[[], Hello]) -> None:
        self._settings = settings
        self._secret = settings.cluster_secret.get_secret_value().encode()
        self._describe = describe
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen on the liveness port."""
        self._server = await asyncio.start_server(
            self._answer, self._settings.agent_host, self._settings.liveness_port, limit=_MAX_LINE
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end all connections: peers read that as the end of this keeper."""
        if self._server:
            self._server.close()
        for writer in list(self._peers):
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(writer)
        try:
            asked = self._verified(await reader.readline())
            if asked is not None:
                said = msgspec.to_builtins(self._describe()) | {"nonce": asked.get("nonce"), "at": time.time()}
                writer.write(self._signed(said))
                await writer.drain()
                await reader.read()  # until the peer goes
        except (OSError, ValueError, asyncio.LimitOverrunError):
            pass  # a peer that goes away or talks nonsense is not our trouble
        finally:
            self._peers.discard(writer)
            writer.close()

    async def connect(self, host: str, port: int) -> tuple[Hello, asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Open a liveness connection; None when no signed hello came in time."""
        try:
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_connection(host, port, limit=_MAX_LINE)
        except (OSError, TimeoutError):
            return None
        nonce = secrets.token_hex(16)
        try:
            async with asyncio.timeout(PROBE_S):
                writer.write(self._signed({"nonce": nonce, "at": time.time()}))
                said = self._verified(await reader.readline())
        except (OSError, ValueError, TimeoutError):
            said = None
        if said is None or said.get("nonce") != nonce:
            writer.close()
            return None
        return msgspec.convert(said, Hello), reader, writer

    async def probe(self, host: str, port: int) -> Hello | None:
        """Ask once who lives there; None is silence, refusal or a wrong signature."""
        found = await self.connect(host, port)
        if found is None:
            return None
        hello, _, writer = found
        writer.close()
        return hello

    def _mac(self, fields: dict[str, Any]) -> str:
        return hmac.new(self._secret, msgspec.json.encode(fields, order="sorted"), hashlib.sha256).hexdigest()

    def _signed(self, fields: dict[str, Any]) -> bytes:
        return msgspec.json.encode(fields | {"mac": self._mac(fields)}) + b"\n"

    def _verified(self, line: bytes) -> dict[str, Any] | None:
        fields: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any]) if line else {}
        mac = str(fields.pop("mac", ""))
        fresh = abs(time.time() - float(fields.get("at") or 0)) < _MAX_SKEW_S
        return fields if fresh and hmac.compare_digest(mac, self._mac(fields)) else None
