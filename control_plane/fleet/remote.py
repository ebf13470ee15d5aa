"""The fleet as the web process sees it: through the broker's Unix socket, never with the power itself."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import httpx2
import msgspec

from appliance.core.errors import BadInput, Conflict, NexusError, NotFound
from control_plane.fleet import FleetAway, Member, Refusal, Stats

T = TypeVar("T")
_ANSWER_S = 60.0
"""The longest call is a stop, which may wait for an agent's own time to hand its work back."""
_LONGEST_PATH = 100
_KINDS: dict[str, type[NexusError]] = {kind.__name__: kind for kind in (FleetAway, NotFound, BadInput, Conflict)}


class Remote:
    """Asks the broker. Without a socket (`path` is '') every call says so."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._http = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=_reachable(path)),
            base_url="http://broker",
            timeout=httpx2.Timeout(_ANSWER_S, connect=2, pool=_ANSWER_S),
            trust_env=False,
        )

    async def members(self) -> tuple[Member, ...]:
        """Return all members by slot."""
        return msgspec.json.decode(await self._ask("GET", "/members"), type=tuple[Member, ...])

    async def start(self, slot: int) -> None:
        """Start the slot's agent."""
        await self._ask("POST", f"/members/{slot}/start")

    async def stop(self, slot: int) -> None:
        """End it gently and keep it ended."""
        await self._ask("POST", f"/members/{slot}/stop")

    async def remove(self, slot: int) -> None:
        """Stop it and forget it."""
        await self._ask("POST", f"/members/{slot}/remove")

    async def restart(self, slot: int) -> None:
        """Stop it gently and start it again."""
        await self._ask("POST", f"/members/{slot}/restart")

    async def kill(self, slot: int) -> None:
        """End it at once."""
        await self._ask("POST", f"/members/{slot}/kill")

    async def freeze(self, slot: int, seconds: float) -> None:
        """Let nothing of it run for `seconds`."""
        await self._ask("POST", f"/members/{slot}/freeze?seconds={seconds}")

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        """Yield the end of its log and, with `follow`, what it writes."""
        asked = f"/members/{slot}/logs?lines={lines}&follow={str(follow).lower()}"
        self._check()
        try:
            # A quiet agent writes nothing for hours.
            async with self._http.stream("GET", asked, timeout=httpx2.Timeout(_ANSWER_S, read=None)) as answer:
                if answer.status_code >= 400:
                    raise _error(await answer.aread())
                async for line in answer.aiter_lines():
                    yield line
        except httpx2.HTTPError as error:
            raise _away(error) from error

    async def stats(self) -> tuple[Stats, ...]:
        """Return what each running member uses."""
        return msgspec.json.decode(await self._ask("GET", "/stats"), type=tuple[Stats, ...])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str) -> bytes:
        self._check()
        try:
            answer = await self._http.request(method, path)
        except httpx2.HTTPError as error:
            raise _away(error) from error
        if answer.status_code >= 400:
            raise _error(answer.content)
        return answer.content

    def _check(self) -> None:
        if not self._path:
            raise FleetAway("This control plane only looks: no BROKER_SOCKET is set, so it starts and stops nobody.")


def _away(error: httpx2.HTTPError) -> FleetAway:
    return FleetAway(f"The broker, which starts and stops agents, does not answer ({type(error).__name__}).")


def _error(body: bytes) -> NexusError:
    try:
        refusal = msgspec.json.decode(body, type=Refusal)
    except msgspec.MsgspecError:
        return FleetAway("The broker answered something that is not understood: are both of one version?")
    return _KINDS.get(refusal.kind, FleetAway)(refusal.detail)


def _reachable(path: str) -> str:
    """Return a path short enough for a Unix socket: a long one through its folder's handle, kept for good."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    folder = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY)
    return f"/proc/self/fd/{folder}/{Path(path).name}"
