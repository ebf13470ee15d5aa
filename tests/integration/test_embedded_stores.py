"""The stores as the embedded runtime makes them: what they allow, and what an interrupted start leaves."""

import asyncio
import signal
import stat
from pathlib import Path

import psycopg
import pytest

from appliance.core.records import Agent, Status
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.embedded import postgres
from appliance.embedded.places import Home
from appliance.embedded.secrets import generate_missing, read_secret
from tests.stores import Stores
from tests.waiting import wait_until


async def test_postgres_wants_the_password_and_its_role_owns_nothing_but_its_database(stores: Stores) -> None:
    url = stores.settings().postgres_url
    password = read_secret(stores.home.secrets, "postgres_password")

    with pytest.raises(psycopg.OperationalError, match="password"):
        await psycopg.AsyncConnection.connect(url, password="wrong")
    async with await psycopg.AsyncConnection.connect(url, password=password) as connection:
        cursor = await connection.execute(
            "select rolsuper, rolcreaterole, rolcreatedb, current_setting('password_encryption'),"
            " exists (select from pg_extension where extname = 'vector') from pg_roles where rolname = current_user"
        )
        assert await cursor.fetchone() == (False, False, False, "scram-sha-256", True)


async def test_redis_appends_refuses_to_forget_and_stays_on_loopback(stores: Stores) -> None:
    redis = Redis(stores.settings())

    assert await redis.check() == "Redis 8.2.3 with JSON and search"
    found: dict[str | None, str | None] = {}
    for name in ("appendonly", "appendfsync", "maxmemory-policy", "bind"):
        found |= await redis.data.config_get(name)
    assert found == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }
    await redis.aclose()


async def test_no_password_is_on_a_command_line(stores: Stores) -> None:
    secrets = [file.read_text() for file in stores.home.secrets.iterdir()]

    for process in stores.processes.values():
        shown = Path(f"/proc/{process.pid}/cmdline").read_text() + Path(f"/proc/{process.pid}/environ").read_text()
        assert not any(secret in shown for secret in secrets)


async def test_a_half_made_database_is_made_anew_and_a_whole_one_is_left_alone(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "a home").create()
    generate_missing(home.secrets)
    (home.data / "postgres.new").mkdir()
    (home.data / "postgres.new" / "PG_VERSION").write_text("interrupted")

    await asyncio.to_thread(postgres.initialise, home)
    made = (home.data / "postgres" / "global" / "pg_control").stat().st_mtime_ns
    await asyncio.to_thread(postgres.initialise, home)

    assert not (home.data / "postgres.new").exists()
    assert (home.data / "postgres" / "global" / "pg_control").stat().st_mtime_ns == made
    assert stat.S_IMODE((home.data / "postgres").stat().st_mode) == 0o700


async def test_what_functions_wrote_survives_a_kill_of_redis() -> None:
    """Redis replays its file as the user `default`: without rights it would refuse every function's effect."""
    own = Stores()
    try:
        await own.start()
        redis = Redis(own.settings("keeper", redis_key_prefix="t1:"))
        registry = Registry(redis)
        await registry.initialise("g1", 7)
        await registry.beat(Agent(id="agent-1", boot="b1", status=Status.ACTIVE))
        admin = Redis(own.settings())
        await admin.data.waitaof(1, 0, 5000)
        await admin.aclose()
        own.signal("redis", signal.SIGKILL)
        await own.start_one("redis")

        view = await wait_until(registry.view, of="an answer of the restarted Redis")
        assert (view.generation, view.epoch, [agent.id for agent in view.agents]) == ("g1", 7, ["agent-1"])
        await redis.aclose()
    finally:
        await asyncio.to_thread(own.close)
