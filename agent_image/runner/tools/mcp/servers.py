"""All MCP servers of a runner as one source of tools."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from agent_image.runner.llm import ToolSpec
from agent_image.runner.tools.mcp.entries import Entry, read
from agent_image.runner.tools.mcp.server import Server
from agent_image.runner.tools.mcp.translated import tool_name
from agent_image.runner.tools.tool import Call, Tool, ToolFailed
from appliance.core import logs
from appliance.core.errors import SettingsError

log = logs.get("mcp")
_CONNECTION = "agent_image.runner.tools.mcp.connection"


class McpServers:
    """The servers of one file; a broken file or a server that does not start keeps no agent from serving."""

    def __init__(self, path: str, *, timeout_s: float) -> None:
        self._servers = [Server(name, entry, timeout_s=timeout_s) for name, entry in _entries(path).items()]

    async def run(self) -> None:
        """Start them all and keep them running."""
        if not self._servers:
            return
        try:
            await asyncio.to_thread(import_module, _CONNECTION)
        except ImportError as error:
            log.error("mcp_sdk_missing", error=str(error), do="pip install 'nexus-appliance[mcp]' or unset MCP_SERVERS")
            for server in self._servers:
                server.why = "the package mcp is not installed here"
            return
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                group.create_task(server.run(), name=f"mcp {server.name}")

    def tools(self) -> Mapping[str, Tool]:
        """Return the tools they have listed; of two with one name the first server's."""
        return {name: tool for server in reversed(self._servers) for name, tool in server.tools.items()}

    async def ready(self, name: str) -> None:
        """Wait a little if the server that may bring this tool has not listed its tools yet."""
        if name not in self.tools() and (server := self._of(name)):
            await server.listed()

    def stand_in(self, name: str) -> Tool | None:
        """Return what takes the place of a tool of ours that is not there, or None if it is not ours to bring.

        A call of it may have been cut off and its user asked already: so it has side effects, and fails in words.
        """
        server = self._of(name)
        if server is None:
            return None

        async def call(_call: Call, /, **_given: Any) -> str:
            raise ToolFailed(f"{server.absent()}; nothing was called")

        return Tool(ToolSpec(name, "", {}), "side_effecting", False, call, dict[str, Any])

    def _of(self, name: str) -> Server | None:
        ours = [it for it in self._servers if name.startswith(tool_name(it.name, ""))]
        return max(ours, key=lambda it: len(it.name), default=None)


def _entries(path: str) -> dict[str, Entry]:
    try:
        return read(path)
    except SettingsError as error:
        log.error("mcp_servers_refused", error=error.detail)
        return {}
