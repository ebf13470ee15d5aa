"""PostgreSQL and Redis for tests: the embedded runtime's own recipes, in a temporary home."""

import asyncio
import contextlib
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from appliance.core.acl import RedisUser
from appliance.core.migrations import migrate
from appliance.core.postgres import wait_until_answering
from appliance.core.settings import Settings, load
from appliance.embedded import postgres, redis
from appliance.embedded.places import Home
from appliance.embedded.programs import Program, start, stop, wait_ready
from appliance.embedded.secrets import GENERATED, generate_missing, read_secret
from tests.ports import free_port
from tests.waiting import PATIENCE_S

_NOT_DURABLE = "fsync = off\nfull_page_writes = off\n"
_TEMPLATE = "template_of_tests"


class Stores:
    """PostgreSQL and Redis of their own, in a temporary home."""

    durable = True
    """Whether what is committed would survive the machine's death, too: pytest's tests kill processes only."""

    def __init__(self, within: Path | None = None) -> None:
        """`within` is the folder that holds the home; the system's temporary one unless given."""
        self.home = Home.at(Path(tempfile.mkdtemp(prefix="nexus-test-", dir=within))).create()
        self.programs: dict[str, Program] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.databases: list[str] = []
        """Those that tests were given for themselves, copies of one that is migrated once."""
        self._copying = asyncio.Lock()

    async def start(self) -> None:
        """Start both and apply the migrations."""
        generate_missing(self.home.secrets)
        postgres_port, redis_port = free_port(), free_port()
        await asyncio.to_thread(postgres.initialise, self.home)
        # The auditor of tests/faults asks in which order transactions were committed.
        with (self.home.data / "postgres" / "postgresql.auto.conf").open("a") as config:
            config.write("track_commit_timestamp = on\n" + ("" if self.durable else _NOT_DURABLE))
        redis.configure(self.home, redis_port, prefix="t*:")  # several clusters share it, each with a prefix of its own
        self.programs = {
            "postgres": postgres.postgres(self.home, postgres_port),
            "redis": redis.redis(self.home, redis_port),
        }
        self.urls = {
            "postgres_url": postgres.postgres_url(postgres_port),
            "redis_url": redis.redis_url(redis_port),
        }
        for name in self.programs:
            await self.start_one(name)
        await wait_until_answering(self.settings(), within_s=PATIENCE_S)
        await migrate(self.settings(), "pre")

    async def start_one(self, name: str) -> None:
        """Start one store, again after `kill`."""
        process = start(self.programs[name], self.home.logs / f"{name}.log")
        self.processes[name] = process
        await asyncio.to_thread(wait_ready, self.programs[name], PATIENCE_S, process)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one store."""
        self.processes[name].send_signal(number)
        if number is signal.SIGKILL:
            self.processes[name].wait()

    async def with_own_database(self, **more: Any) -> Settings:
        """Return settings with a database that no agent of this session reads: a copy of one that is migrated."""
        async with self._copying:
            if not self.databases:
                await asyncio.to_thread(self._as_superuser, f"create database {_TEMPLATE} owner nexus")
                await asyncio.to_thread(self._as_superuser, "create extension vector", _TEMPLATE)
                await migrate(self._settings_of(_TEMPLATE, {}), "pre")
            name = f"t{secrets.token_hex(4)}"
            await asyncio.to_thread(self._as_superuser, f"create database {name} owner nexus template {_TEMPLATE}")
            self.databases.append(name)
        return self._settings_of(name, more)

    def drop(self, databases: Sequence[str]) -> None:
        """Remove databases whose test has ended; what somebody still holds on to goes with the session."""
        for name in databases:
            with contextlib.suppress(psycopg.OperationalError):
                self._as_superuser(f"drop database {name} with (force)")

    def _as_superuser(self, statement: str, database: str = "postgres") -> None:
        url = self.urls["postgres_url"].replace("nexus@", "postgres@").removesuffix("nexus") + database
        password = read_secret(self.home.secrets, "postgres_password")
        with psycopg.connect(url, password=password, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _settings_of(self, database: str, more: dict[str, Any]) -> Settings:
        url = self.urls["postgres_url"].removesuffix("nexus") + database
        return self.settings(**more | {"postgres_url": url})

    def settings(self, redis_user: RedisUser = "admin", **more: Any) -> Settings:
        """Return settings that reach these stores: as `admin`, who may do what no program may, or as one of those."""
        secrets = {name: read_secret(self.home.secrets, name) for name in GENERATED}
        return load(redis_user, **self.urls | secrets | more)

    def environment(self) -> dict[str, str]:
        """Return what a program needs to reach these stores; secrets stay in files."""
        return {name.upper(): url for name, url in self.urls.items()} | {"NEXUS_SECRETS_DIR": str(self.home.secrets)}

    def close(self) -> None:
        """Stop both and remove everything."""
        for name, process in self.processes.items():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            stop(self.programs[name], process)
        shutil.rmtree(self.home.root, ignore_errors=True)
