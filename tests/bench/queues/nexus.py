"""Nexus as it runs: PostgreSQL, Redis, a gateway and one runner as processes; the client is this process.

Durable as always: PostgreSQL with fsync and synchronous_commit (asked of the server, not assumed), Redis append-only.
The client publishes 500 tasks a statement, four statements at once, and awaits the results of each 500 together.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from appliance.core.records import TaskState, User
from appliance.core.task_batches import Wanted
from tests.bench.queues.client import arriving, timed_burst
from tests.boards import Boarded, boarded
from tests.fakes.models import FakeProvider
from tests.runners import Runners
from tests.stores import Stores

SLOTS, BATCH, AT_ONCE = 1000, 500, 4
KIND = "nothing"


class Nexus:
    """A cluster of one runner and a board; its stores are in `folder`."""

    def __init__(self, made: Boarded[Runners], users: dict[str, User], parts: dict[str, int], folder: Path) -> None:
        self.parts = parts
        self.folder = folder
        self._made = made
        self._users = users

    @classmethod
    @asynccontextmanager
    async def running(cls, within: Path | None = None) -> AsyncIterator["Nexus"]:
        """Start it and stop it again; `within` holds the folder of its stores, nothing else of it."""
        async with AsyncExitStack() as stack:
            stores = Stores(within)
            stack.push_async_callback(asyncio.to_thread, stores.close)
            await stores.start()
            provider = await stack.enter_async_context(FakeProvider())
            made = await stack.enter_async_context(boarded(stores, provider, 1, slots=SLOTS))
            stores_pids = {name: stores.processes[name].pid for name in ("redis", "postgres")}
            parts = {"worker": made.cluster.keepers()["agent-1"], "client": 0, **stores_pids}
            users = {name: await _user(made, name) for name in ("ada", "bob")}
            yield cls(made, users, parts, stores.home.root)

    async def seconds_of_burst(self, count: int, within_s: float) -> float:
        """Publish so many and wait for all results."""
        async with asyncio.timeout(within_s):
            return await timed_burst(self, count)

    async def burst(self, count: int) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def some(size: int) -> None:
            async with turn:
                ids = await self._publish("ada", size)
            await self._results(ids)

        await asyncio.gather(*(some(min(BATCH, count - at)) for at in range(0, count, BATCH)))

    async def _publish(self, name: str, count: int) -> tuple[str, ...]:
        return await self._made.board.publish(self._users[name], [Wanted(KIND)] * count)

    async def _results(self, ids: tuple[str, ...]) -> None:
        """Wait, and look that each task was done; `nothing` returns what it was given."""
        for ended in (await self._made.board.results(ids)).values():
            if (ended.state, ended.result) != (TaskState.DONE, {}):
                raise ValueError(f"a task ended wrongly: {ended!r}")

    async def _one(self) -> None:
        await self._results(await self._publish("ada", 1))

    async def latencies_ms(self, per_s: float, count: int, within_s: float) -> list[float]:
        """Let so many arrive evenly."""
        async with asyncio.timeout(within_s):
            return await arriving(self._one, per_s, count)

    async def durability(self) -> dict[str, str]:
        """Return what the stores themselves say of it."""
        async with self._made.cluster.sql() as sql:
            row = await (await sql.execute(
                "select current_setting('fsync') as fsync, current_setting('synchronous_commit') as synchronous_commit"
            )).fetchone()  # fmt: skip
        assert row is not None
        found: Any = await self._made.redis.data.config_get("append*")
        return {**row, "appendonly": found["appendonly"], "appendfsync": found["appendfsync"]}

    def postgres(self) -> str:
        """Return how its PostgreSQL is reached."""
        settings = self._made.cluster.settings
        return make_conninfo(settings.postgres_url, password=settings.postgres_password.get_secret_value())

    async def put_up_backlog(self, count: int) -> int:
        """Queue so many tasks of somebody else while the runner stands still; return how many wait then."""
        runner = self.parts["worker"]
        os.kill(runner, signal.SIGSTOP)
        try:
            for at in range(0, count, BATCH):
                await self._publish("bob", min(BATCH, count - at))
            return await self.waiting()
        finally:
            os.kill(runner, signal.SIGCONT)

    async def waiting(self) -> int:
        """Return how many tasks have not ended."""
        return await self._count("state in ('queued', 'running')")

    async def done(self) -> int:
        """Return how many tasks were done, whoever's."""
        return await self._count("state = 'done'")

    async def _count(self, which: str) -> int:
        async with self._made.cluster.sql() as sql:
            row = await (await sql.execute(f"select count(*) as n from tasks where {which}".encode())).fetchone()
        assert row is not None
        return int(row["n"])


async def _user(made: Boarded[Runners], name: str) -> User:
    [first] = await made.publish(KIND, by=name)  # the board learns of the generation with it
    await made.results((first,))
    row = await made.cluster.postgres.row("ensure_user", tenant="default", name=name, role="operator")
    assert row is not None
    return User(id=str(row["id"]), name=name)
