"""PostgreSQL ends connections while nobody uses them: the next statements must not be lost on them."""

import asyncio

import psycopg

from appliance.core.postgres import Postgres, connection_options
from tests.stores import Stores
from tests.waiting import wait_until


async def test_connections_that_the_server_ended_cost_no_statement(stores: Stores) -> None:
    config = stores.settings()
    postgres = Postgres(config, application="ended")
    await postgres.open()
    try:
        await asyncio.gather(*(postgres.ping() for _ in range(6)))
        await end_sessions(stores)
        for _ in range(10):
            await postgres.ping()
    finally:
        await postgres.aclose()


async def end_sessions(stores: Stores) -> None:
    """End the idle sessions as a restart would, and wait until none is left."""
    config = stores.settings()
    ours = "from pg_stat_activity where application_name = 'ended'"
    options = connection_options(config, "test")
    async with await psycopg.AsyncConnection.connect(config.postgres_url, **options) as session:
        await session.execute(f"select pg_terminate_backend(pid) {ours}".encode())

        async def none_left() -> bool:
            return await (await session.execute(f"select 1 {ours}".encode())).fetchone() is None

        await wait_until(none_left, of="the end of all sessions")
