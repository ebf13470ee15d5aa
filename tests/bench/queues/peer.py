"""A peer as it runs: a Redis of its own without persistence, one worker, one client, each a process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from appliance.embedded.programs import free_port
from tests.bench.queues.venvs import python_of
from tests.bench.redis_peers import Processes
from tests.cluster import ROOT

LIMIT = 1 << 24
"""Bytes of the longest answer: thousands of latencies in one line."""


class Failed(Exception):
    """A peer did not do what was asked; says why."""


class Peer:
    """Asks a peer's client; `parts` names its processes."""

    def __init__(self, processes: Processes, parts: dict[str, int], client: asyncio.subprocess.Process) -> None:
        self._processes = processes
        self._client = client
        self.parts = parts

    @classmethod
    @asynccontextmanager
    async def running(cls, name: str) -> AsyncIterator["Peer"]:
        """Start it and stop it again."""
        python, port = await python_of(name), free_port()
        async with AsyncExitStack() as stack:
            processes = Processes()
            stack.push_async_callback(asyncio.to_thread, processes.close)
            redis = await processes.redis("redis", port)
            # `env` becomes the program: the pid is the worker's.
            url = f"QUEUE_REDIS=redis://127.0.0.1:{port}/0"
            command = ["env", url, f"PYTHONPATH={ROOT}", python, "-m", f"tests.bench.queues.peer_{name}"]
            worker = await processes.start("worker", *command, "worker", port=port)
            client = await stack.enter_async_context(_client(processes, command))
            yield cls(processes, {"worker": worker, "client": client.pid, "redis": redis}, client)

    async def seconds_of_burst(self, count: int, within_s: float) -> float:
        """Publish so many and wait for all results; Failed when it does not succeed in time."""
        answer = await self._asked({"do": "burst", "count": count}, within_s)
        return float(answer["seconds"])

    async def latencies_ms(self, per_s: float, count: int, within_s: float) -> list[float]:
        """Let so many arrive evenly."""
        answer = await self._asked({"do": "arrive", "per_s": per_s, "count": count}, within_s)
        return list(answer["latencies_ms"])

    async def _asked(self, order: dict[str, Any], within_s: float) -> dict[str, Any]:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps(order).encode() + b"\n")
        try:
            async with asyncio.timeout(within_s):
                line = await self._client.stdout.readline()
        except TimeoutError:
            raise Failed(f"no end of {order} within {within_s:g} s{self._last_words()}") from None
        answer: dict[str, Any] = json.loads(line) if line else {"failed": "its client ended"}
        if "failed" in answer:
            raise Failed(f"{answer['failed']}{self._last_words()}")
        return answer

    def _last_words(self) -> str:
        """Return the end of what worker and client wrote."""
        logs = {name: (self._processes.folder / f"{name}.log").read_text().strip() for name in ("worker", "client")}
        return "".join(f"; {name}: {text.splitlines()[-1][-300:]}" for name, text in logs.items() if text)


@asynccontextmanager
async def _client(processes: Processes, command: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    with (processes.folder / "client.log").open("ab") as log:
        client = await asyncio.create_subprocess_exec(
            *command, "client", cwd=processes.folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=log, limit=LIMIT, start_new_session=True,
        )  # fmt: skip
    try:
        yield client
    finally:
        if client.returncode is None:
            client.kill()
        await client.wait()
