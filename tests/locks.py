"""Whether somebody waits for a lock: for tests that hold it."""

import psycopg

from appliance.core.postgres import connection_options
from appliance.core.settings import Settings

_WAITING = (
    "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    " and position(%s in query) > 0 and pid <> pg_backend_pid()"
)


async def waits_for_a_lock(config: Settings, call: str = "") -> bool:
    """Whether a session of this database waits in a statement that contains `call`."""
    options = connection_options(config, "test")
    async with await psycopg.AsyncConnection.connect(config.postgres_url, **options) as session:
        return await (await session.execute(_WAITING, [call])).fetchone() is not None
