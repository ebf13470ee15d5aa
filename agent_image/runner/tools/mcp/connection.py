"""A connection to one running MCP server. The one module that imports the SDK: half a second, only where it is used."""

import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client
from mcp.client.session import IncomingMessage, MessageHandlerFnT
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    PaginatedRequestParams,
    Tool,
    ToolListChangedNotification,
)

from agent_image.runner.tools.mcp import tied
from agent_image.runner.tools.mcp.entries import Entry
from agent_image.runner.tools.mcp.translated import Described, Hints, text_of
from agent_image.runner.tools.tool import ToolFailed
from appliance.core import logs
from appliance.core.version import VERSION

log = logs.get("mcp")
NOT_DONE = (PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS)
"""Errors by which a server says that it did nothing."""
MAX_PAGES = 100
# It writes a traceback for each line that is no message; `_hearer` says it once.
logging.getLogger("mcp.client.stdio").setLevel(logging.CRITICAL)


class Connection:
    """What can be asked of a server."""

    def __init__(self, session: ClientSession, name: str) -> None:
        self._session = session
        self._name = name

    async def tools(self) -> list[Described]:
        """Return its tools, all pages."""
        found = await self._session.list_tools()
        tools = list(found.tools)
        for _ in range(MAX_PAGES):
            if not found.next_cursor:
                break
            found = await self._session.list_tools(params=PaginatedRequestParams(cursor=found.next_cursor))
            tools += found.tools
        return [_described(it) for it in tools]

    async def call(self, tool: str, given: dict[str, Any]) -> str:
        """Call a tool and return what a model reads of its result.

        Raises:
            ToolFailed: the server says that it failed. ConnectionError: it ended before it answered. MCPError: it
            answered with an error that does not say what was done.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=given))
        try:
            # Not `call_tool`: it raises on a result that differs from the tool's own schema, as if nothing were known.
            result = await self._session.send_request(request, CallToolResult)
        except MCPError as error:
            if error.code in NOT_DONE:
                raise ToolFailed(error.message) from None
            if error.code == CONNECTION_CLOSED:
                raise ConnectionError(f"the MCP server {self._name} ended before it answered") from None
            raise
        text = text_of(result.content, result.structured_content)
        if result.is_error:
            raise ToolFailed(text or "the server does not say why")
        return text


@asynccontextmanager
async def connected(name: str, entry: Entry, stir: Callable[[bool], None]) -> AsyncIterator[Connection]:
    """Start a server and shake hands; it ends with the context, and with this process.

    `stir(True)` is called when it has ended by itself, `stir(False)` when its tools have changed.

    Raises:
        OSError, ExceptionGroup: it does not start, or what it says is not MCP.
    """
    if shutil.which(entry.command, path=entry.env.get("PATH")) is None:
        raise FileNotFoundError(f"there is no program {entry.command!r} in its PATH")
    tie = ["-I", "-S", str(Path(tied.__file__)), str(os.getpid()), entry.command, *entry.args]
    started = StdioServerParameters(
        command=sys.executable, args=tie, env=entry.env, encoding_error_handler="replace"
    )  # fmt: skip
    about = Implementation(name="nexus", version=VERSION)
    async with (
        stdio_client(started) as (reading, writing),
        ClientSession(
            _Heard(reading, lambda: stir(True)), writing, message_handler=_hearer(name, stir), client_info=about
        ) as session,
    ):
        await session.initialize()
        yield Connection(session, name)


def _described(tool: Tool) -> Described:
    said = tool.annotations
    hints = Hints(said.read_only_hint, said.idempotent_hint, said.destructive_hint) if said else Hints()
    return Described(tool.name, tool.description or tool.title or tool.name, tool.input_schema, hints)


def _hearer(name: str, stir: Callable[[bool], None]) -> MessageHandlerFnT:
    noisy = False

    async def hear(message: IncomingMessage) -> None:
        nonlocal noisy
        if isinstance(message, ToolListChangedNotification):
            stir(False)
        elif isinstance(message, Exception) and not noisy:
            noisy = True
            log.warning("mcp_noise", server=name, why="it writes lines that are no messages; they are left out")

    return hear


class _Heard:
    """The reading side of a connection, whose end is told: the SDK keeps it to itself until the next request."""

    def __init__(self, inner: Any, ended: Callable[[], None]) -> None:
        self._inner = inner
        self._ended = ended

    async def receive(self) -> SessionMessage | Exception:
        return await self._inner.receive()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self._inner.__anext__()  # type: ignore[no-any-return]
        except StopAsyncIteration:
            self._ended()
            raise

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)  # type: ignore[no-any-return]
