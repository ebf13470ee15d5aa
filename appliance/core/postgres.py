"""PostgreSQL: one pool a process, named statements from .sql files.

Statements are autocommit unless a transaction is opened: accept, claim, commit, release and elect are one round trip
each, so that no client can stop while it holds a lock (PROTOCOLS 6.2).
"""

import asyncio
import re
import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from appliance.core import cancellation
from appliance.core.errors import BadInput, Conflict, NotFound, Overloaded, StaleEpoch, StoreAway, StoreUnfit
from appliance.core.settings import Settings

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)
Row = dict[str, Any]

WAIT_FOR_CONNECTION_S = 2.0
"""Less than the gateway's 3 s: the agent says itself that PostgreSQL is away, before it is taken for a frozen one."""
_OLDEST = 16
_REFUSALS = {"NX400": BadInput, "NX404": NotFound, "NX409": Conflict, "NX429": Overloaded, "NXEPO": StaleEpoch}
_TROUBLES = {
    "53100": "PostgreSQL has no room left on its disk: make some, then try again",
    "53200": "PostgreSQL is out of memory",
    "53300": "PostgreSQL has no connection left",
}
# The server, too, notices that the other host is gone: else sessions cut off stay until no connection is left.
_LOST = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10s"
_RETRIED = {"40P01", "55P03"}  # deadlock, lock time-out: never read as "0 rows" (PROTOCOLS 7.2)
_RETRIES = 5


class Postgres:
    """A pool of connections and the named statements of `sql/queries/`."""

    def __init__(self, settings: Settings, *, application: str) -> None:
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Row]] = AsyncConnectionPool(
            settings.postgres_url,
            kwargs=connection_options(settings, application),
            min_size=2,
            max_size=settings.postgres_pool_size,
            timeout=WAIT_FOR_CONNECTION_S,
            open=False,
            check=None,
            reconnect_timeout=5,
        )

    async def open(self) -> None:
        """Begin to connect; does not wait for the server."""
        await self._pool.open()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def rows(self, name: str, /, **values: object) -> list[Row]:
        """Run the named statement and return its rows.

        Raises:
            StoreAway: PostgreSQL does not answer. NotFound, Conflict, Overloaded, StaleEpoch: a function refused.
        """
        return await self._tried(_RETRIES, name, values)

    async def once(self, name: str, /, **values: object) -> list[Row]:
        """Like `rows`; but a lock that is not granted in time, too, is StoreAway at once."""
        return await self._tried(1, name, values)

    async def _tried(self, times: int, name: str, values: Mapping[str, object]) -> list[Row]:
        for attempt in range(times):
            try:
                return await self._run(name, values)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if error.sqlstate not in _RETRIED or attempt == times - 1:
                    detail = _TROUBLES.get(error.sqlstate or "", "PostgreSQL does not answer")
                    raise StoreAway(detail, cause=type(error).__name__) from error
        raise StoreAway("PostgreSQL was too busy with locks")

    async def _run(self, name: str, values: Mapping[str, object]) -> list[Row]:
        try:
            while True:
                with cancellation.kept():
                    async with self._pool.connection() as connection:
                        if not _has_ended(connection):
                            cursor = await connection.execute(statement(name), values)
                            return await cursor.fetchall() if cursor.description else []
                    # A restarted server ended all idle ones: nothing was sent yet, so the statement is not lost.
                    await self._pool.check()
        except PoolTimeout as error:
            raise StoreAway("PostgreSQL does not answer", cause="no connection in time") from error
        except psycopg.Error as error:
            if error.sqlstate in _REFUSALS:
                detail = error.diag.message_primary or ""
                raise _REFUSALS[error.sqlstate](detail) from None
            raise

    async def row(self, name: str, /, **values: object) -> Row | None:
        """Run the named statement and return its first row, or None."""
        found = await self.rows(name, **values)
        return found[0] if found else None

    async def ping(self) -> None:
        """Return when PostgreSQL answers; StoreAway when it does not."""
        await self.rows("ping")

    async def version(self) -> str:
        """Return one sentence about what was found; StoreUnfit when it is too old."""
        return check_version(int(await self.value("server_version")))

    async def value(self, name: str, /, **values: object) -> Any:
        """Run the named statement and return the first column of its first row, or None."""
        found = await self.row(name, **values)
        return next(iter(found.values())) if found else None


def _has_ended(connection: psycopg.AsyncConnection[Row]) -> bool:
    """Whether the server ended this connection while it was idle; costs no round trip."""
    ready = select.poll()
    ready.register(connection.fileno(), select.POLLIN)
    try:
        while ready.poll(0):  # nobody asked anything: a last word, then the end
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def connection_options(settings: Settings, application: str) -> dict[str, Any]:
    """Return what every connection of ours is opened with; the password stays out of the URL."""
    return {
        "autocommit": True,
        "row_factory": dict_row,
        "password": settings.postgres_password.get_secret_value() or None,
        "application_name": application,
        "connect_timeout": 3,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": 3000,
        "options": f"-c lock_timeout=1s -c statement_timeout=10s -c idle_in_transaction_session_timeout=500ms {_LOST}",
    }


@cache
def _statements() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in sorted((files("appliance.core") / "sql" / "queries").iterdir(), key=lambda entry: entry.name):
        for part in re.split(r"^-- name: ", file.read_text(), flags=re.MULTILINE)[1:]:
            name, text = part.split("\n", 1)
            if name.strip() in found:
                raise ValueError(f"two statements are called {name.strip()}")
            found[name.strip()] = text.strip().rstrip(";").encode()
    return found


def statement(name: str) -> bytes:
    """Return the text of a named statement of `sql/queries/*.sql`; KeyError when there is none."""
    return _statements()[name]


@asynccontextmanager
async def listening(settings: Settings, channel: str) -> AsyncIterator[psycopg.AsyncConnection[Row]]:
    """Hold a connection of its own on which `channel`'s NOTIFYs arrive.

    Raises:
        StoreAway: PostgreSQL does not answer.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            settings.postgres_url, **connection_options(settings, f"listen {channel}")
        )
    except psycopg.Error as error:
        raise StoreAway("PostgreSQL does not answer", cause=type(error).__name__) from error
    async with connection:
        await connection.execute(b"listen " + channel.encode())
        yield connection


async def notified(connection: psycopg.AsyncConnection[Row], within_s: float) -> bool:
    """Wait for a NOTIFY on a `listening` connection; False when none came in time, or something else was said.

    Raises:
        StoreAway: the connection broke; open a new one.
    """
    if await _has_notice(connection):
        return True
    return await _readable(connection.fileno(), within_s) and await _has_notice(connection)


async def _has_notice(connection: psycopg.AsyncConnection[Row]) -> bool:
    try:
        async for _ in connection.notifies(timeout=0, stop_after=1):
            return True
    except psycopg.Error as error:
        raise StoreAway("PostgreSQL does not answer", cause=type(error).__name__) from error
    return False


async def _readable(descriptor: int, within_s: float) -> bool:
    """Wait until something can be read. psycopg itself would look ten times a second, all day long."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(within_s):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def check_version(server_version: int) -> str:
    """Return one sentence about what was found.

    Raises:
        StoreUnfit: older than PostgreSQL 16.
    """
    major = server_version // 10000
    if major < _OLDEST:
        raise StoreUnfit(f"PostgreSQL {major} was found; {_OLDEST} or newer is needed")
    return f"PostgreSQL {major}.{server_version % 10000}"


async def wait_until_answering(settings: Settings, within_s: float) -> None:
    """Return when PostgreSQL answers a query.

    Raises:
        StoreAway: it did not within `within_s`.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                settings.postgres_url, **connection_options(settings, "wait")
            ) as connection:
                await connection.execute("select 1")
            return
        except psycopg.Error as error:
            if asyncio.get_running_loop().time() > deadline:
                raise StoreAway("PostgreSQL does not answer", cause=str(error).split("\n")[0]) from error
        await asyncio.sleep(0.1)
