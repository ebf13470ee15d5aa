"""Migrations: plain SQL files, each applied once, in their order (DESIGN 5)."""

import hashlib
from importlib.resources import files
from typing import Literal

import psycopg

from appliance.core.errors import StoreAway, StoreUnfit
from appliance.core.postgres import Row, check_version, connection_options
from appliance.core.settings import Settings

Phase = Literal["pre", "post"]
_LOCK = 0x6E657875  # "nexu"


async def migrate(settings: Settings, phase: Phase) -> list[str]:
    """Apply the migrations of one phase that are not applied yet and return their names.

    `NNNN_pre_*.sql` is safe before new code runs, `NNNN_post_*.sql` after it. Several programs may call this at once.

    Raises:
        StoreUnfit: the server is too old or lacks an extension, or an applied file was changed afterwards.
        StoreAway: PostgreSQL does not answer.
    """
    try:
        async with await psycopg.AsyncConnection.connect(
            settings.postgres_url, **(connection_options(settings, "migrate") | {"options": ""})
        ) as connection:
            check_version(connection.info.server_version)
            await connection.execute("select pg_advisory_lock(%s)", [_LOCK])
            return [name for name in _migrations(phase) if await _apply(connection, name)]
    except psycopg.OperationalError as error:
        raise StoreAway("PostgreSQL does not answer", cause=type(error).__name__) from error
    except psycopg.errors.NoDataFound as lacking:
        raise StoreUnfit(lacking.diag.message_primary or "") from None  # a migration says it in words


def _migrations(phase: Phase) -> list[str]:
    folder = files("appliance.core") / "sql" / "migrations"
    return sorted(entry.name for entry in folder.iterdir() if f"_{phase}_" in entry.name)


async def _apply(connection: psycopg.AsyncConnection[Row], name: str) -> bool:
    text = (files("appliance.core") / "sql" / "migrations" / name).read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    async with connection.transaction():
        await connection.execute(
            "create table if not exists migrations("
            "name text primary key, sha256 text not null, applied_at timestamptz not null default now())"
        )
        found = await (await connection.execute("select sha256 from migrations where name = %s", [name])).fetchone()
        if found:
            if found["sha256"] != digest:
                raise StoreUnfit(f"migration {name} was changed after it was applied; add a new file instead")
            return False
        await connection.execute(text.encode())
        await connection.execute("insert into migrations(name, sha256) values (%s, %s)", [name, digest])
    return True
