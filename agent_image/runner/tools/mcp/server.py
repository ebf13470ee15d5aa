"""One MCP server: started, listed, called; started again when it ends, later and later (0.5 s to 60 s)."""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent_image.runner.llm import ToolSpec
from agent_image.runner.tools.mcp import translated
from agent_image.runner.tools.mcp.entries import Entry
from agent_image.runner.tools.mcp.translated import Described
from agent_image.runner.tools.tool import Call, Function, Tool, ToolFailed
from appliance.core import logs

if TYPE_CHECKING:
    from agent_image.runner.tools.mcp.connection import Connection

log = logs.get("mcp")
START_S = 120.0
"""Seconds until it has listed its tools: `npx` may fetch it first."""
ALIVE_S = 5.0
"""Seconds in which one that let a call hang has to list its tools, or it is started anew."""
WAIT_S = 10.0
"""Seconds a call waits for a server that is being started."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
STEADY_S = 30.0
"""Who lived that long is started again after the first pause."""


def next_pause(pause_s: float, lived_s: float) -> float:
    """Return how long to wait after a life of `lived_s` that began after `pause_s`. Pure."""
    return FIRST_PAUSE_S if lived_s >= STEADY_S else min(max(FIRST_PAUSE_S, 2 * pause_s), LONGEST_PAUSE_S)


class Server:
    """A server and the tools it has; it keeps the last list it gave while it is away."""

    def __init__(self, name: str, entry: Entry, *, timeout_s: float) -> None:
        self.name = name
        self.tools: dict[str, Tool] = {}
        self.known = asyncio.Event()
        """Set once it has listed its tools."""
        self._entry = entry
        self._wait_s = min(WAIT_S, timeout_s / 2)
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self._stirred = asyncio.Event()
        self._ended = False
        self.why = "it is still being started"

    async def run(self) -> None:
        """Keep it running until cancelled."""
        pause_s = 0.0
        while True:
            began = time.monotonic()
            try:
                await self._live()
                self.why = "it ended"
            except Exception as error:  # whatever a program of somebody else's does, this agent goes on
                self.why = "it ended before it had listed its tools" if self._ended else _said(error)
            pause_s = next_pause(pause_s, time.monotonic() - began)
            log.warning("mcp_server_away", server=self.name, why=self.why, again_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _live(self) -> None:
        """Run it once, until it ends or lets a call and then a question after its tools hang."""
        from agent_image.runner.tools.mcp.connection import connected

        self._stirred.clear()
        self._ended = False
        async with asyncio.timeout(START_S) as starting, connected(self.name, self._entry, self._stir) as it:
            await self._list(it)
            starting.reschedule(None)
            self._connection = it
            self._up.set()
            log.info("mcp_server_up", server=self.name, tools=list(self.tools))
            try:
                await self._watch(it)
            finally:  # before the process is ended, which may take seconds
                self._connection = None
                self._up.clear()

    async def _watch(self, connection: "Connection") -> None:
        while not self._ended:
            await self._stirred.wait()
            self._stirred.clear()
            if not self._ended:
                async with asyncio.timeout(ALIVE_S):
                    await self._list(connection)

    def _stir(self, ended: bool) -> None:
        self._ended = self._ended or ended
        self._stirred.set()

    async def _list(self, connection: "Connection") -> None:
        found = [self._tool(it) for it in await connection.tools()]
        self.tools = {it.spec.name: it for it in reversed(found)}
        self.known.set()

    def _tool(self, it: Described) -> Tool:
        name = translated.tool_name(self.name, it.name)
        spec = ToolSpec(name, it.text, translated.parameters_of(it.schema))
        approval = translated.asks_first(it.hints, approval=self._entry.approval)
        return Tool(spec, translated.effect_of(it.hints), approval, self._caller(it.name), dict[str, Any])

    def _caller(self, tool: str) -> Function:
        async def call(_call: Call, /, **given: Any) -> str:
            connection = await self._connected()
            try:
                return await connection.call(tool, given)
            except asyncio.CancelledError:
                self._stir(False)  # by its time-out, perhaps: does it still answer at all?
                raise

        return call

    async def _connected(self) -> "Connection":
        """Return the connection, waiting a little for one; ToolFailed: nothing was called."""
        try:
            async with asyncio.timeout(self._wait_s):
                while self._connection is None:
                    await self._up.wait()
        except TimeoutError:
            raise ToolFailed(f"{self.absent()}; nothing was called") from None
        return self._connection

    async def listed(self) -> None:
        """Wait a little for the list of its tools."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                await self.known.wait()

    def absent(self) -> str:
        """Return why a tool of this server cannot be called, as a sentence."""
        if self._connection is not None:
            return f"the MCP server {self.name} has no such tool"
        return f"the MCP server {self.name} does not run ({self.why}); it is started again by itself"


def _said(error: BaseException) -> str:
    """Return what went wrong, without the groups that task groups put around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return str(error) or type(error).__name__
