"""Runners with MCP servers, and what tests know of the servers' processes."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cluster import ROOT
from tests.fakes.models import FakeProvider
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import wait_until


def fake(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """Return the entry of one of our own servers; it keeps what it did in `folder`/`name`."""
    own = folder / name
    own.mkdir()
    environment = {"FOLDER": str(own)} | more.pop("env", {})
    return {"command": sys.executable, "args": [str(ROOT / "tests/fakes/mcp_server.py")], "env": environment} | more


@asynccontextmanager
async def with_servers(
    stores: Stores, provider: FakeProvider, folder: Path, servers: dict[str, Any], agents: int = 1, **more: str
) -> AsyncIterator[Runners]:
    """Run that many runners, the first of them primary; only what is up of their servers counts."""
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    async with running_runners(stores, provider, agents, MCP_SERVERS=str(file), **more) as running:
        await running.promote("agent-1")
        yield running


def ups(cluster: Runners, agent: str, server: str) -> int:
    """Return how often an agent's server has listed its tools after a start."""
    lines = cluster.log_of(agent).splitlines()
    return sum("mcp_server_up" in line and f'"server": "{server}"' in line for line in lines)


async def until_up(cluster: Runners, agent: str, *servers: str, times: int = 1) -> None:
    """Wait until an agent's servers have listed their tools, that often: then models are offered them."""

    async def up() -> bool:
        return all(ups(cluster, agent, name) >= times for name in servers)

    await wait_until(up, of=f"the MCP servers {servers} of {agent}")


async def restart(cluster: Runners, agent: str, server: str) -> None:
    """Start an agent that has ended, and wait until its server is up again, too."""
    before = ups(cluster, agent, server)
    await cluster.restart(agent)
    await until_up(cluster, agent, server, times=before + 1)


def acts(folder: Path, words: str) -> list[int]:
    """Return the processes that did something with these words, in order."""
    file = folder / "acts"
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(line.split()[0]) for line in lines if line.split()[1] == words]


async def first_act(folder: Path, words: str) -> int:
    """Wait until something is done with these words; return the process that does it."""

    async def done() -> list[int]:
        return acts(folder, words)

    return int((await wait_until(done, of="the call"))[0])


def lives(pid: int) -> bool:
    """Whether a process runs, be it frozen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def children(parent: int, word: str) -> list[int]:
    """Return the children of a process that have this word in their command."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found if word in Path(f"/proc/{pid}/cmdline").read_text()]


async def until_dead(pid: int) -> None:
    """Wait until a process has ended."""

    async def dead() -> bool:
        return not lives(pid)

    await wait_until(dead, of=f"the end of process {pid}")


def freeze(pid: int) -> None:
    """SIGSTOP a process."""
    os.kill(pid, signal.SIGSTOP)
