"""Rows of raw messages, each step one commit, on connections that are open; without a PostgreSQL, nothing at all."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, Self

from psycopg_pool import AsyncConnectionPool

CONNECTIONS = 8
"""As many as a program of Nexus has."""


class Rows:
    """One table; an empty `conninfo` keeps nothing."""

    def __init__(self, pool: AsyncConnectionPool[Any] | None) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def at(cls, conninfo: str) -> AsyncIterator[Self]:
        """Hold connections."""
        if not conninfo:
            yield cls(None)
            return
        pool = AsyncConnectionPool[Any](conninfo, min_size=CONNECTIONS, open=False, kwargs={"autocommit": True})
        async with pool:
            await pool.wait()
            yield cls(pool)

    async def make(self) -> None:
        """Make the table."""
        await self._do("create table raw_messages(name text primary key, result text)")

    async def accept(self, name: str) -> None:
        """Commit a message."""
        await self._do("insert into raw_messages(name) values (%s)", [name])

    async def end(self, names: Sequence[str]) -> None:
        """Commit the results of some."""
        await self._do("update raw_messages set result = '0' where name = any(%s)", [list(names)])

    async def _do(self, statement: LiteralString, values: Sequence[Any] = ()) -> None:
        if self._pool:
            async with self._pool.connection() as connection:
                await connection.execute(statement, values)
