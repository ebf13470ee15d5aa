"""What all commands share: the home, its settings, and how they speak."""

import hashlib
import secrets
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from appliance.cli.runtime import RUNTIMES, Runtime
from appliance.core.errors import CannotStart
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.embedded.config import Config
from appliance.embedded.lifecycle import config_of
from appliance.embedded.places import DEFAULT_HOME, Home

ADMIN = "admin"
LINK_LIFE_S = 15 * 60
COMMAND_LOGIN_S = 3600
out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)
HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="HOME_DIR", help="Where this appliance keeps its data; several run side by side."),
]
HOME = DEFAULT_HOME


class Place:
    """One appliance: its home, what was chosen for it, and how to reach it."""

    def __init__(self, folder: Path) -> None:
        self.home = home_at(folder)
        self.config: Config = config_of(self.home)
        self.runtime: Runtime = RUNTIMES[self.config.runtime]

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents that should be there."""
        return self.runtime.agents(self.home, self.config)

    @property
    def settings(self) -> Settings:
        """Settings that reach its stores."""
        return self.runtime.settings_of(self.home, self.config)

    @asynccontextmanager
    async def postgres(self) -> AsyncIterator[Postgres]:
        """Open its system of record.

        Raises:
            CannotStart: it does not run; nobody has to wait to hear that.
        """
        if not self.runtime.is_running(self.home, "postgres"):
            raise CannotStart(f"PostgreSQL does not run: `{make('up', self.home)}` starts what is missing.")
        postgres = Postgres(self.settings, application="nexus")
        await postgres.open()
        try:
            yield postgres
        finally:
            await postgres.aclose()

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """Connect to its Redis; a call that is not answered is StoreAway."""
        redis = Redis(self.settings)
        try:
            yield redis
        finally:
            await redis.aclose()

    @asynccontextmanager
    async def login(self) -> AsyncIterator[str]:
        """Yield a bearer token of the administrator that ends with the command."""
        async with self.postgres() as postgres:
            admin = await admin_id(postgres)
            token = secrets.token_urlsafe(32)
            await postgres.rows("create_login", digest=digest_of(token), user=admin, life_s=COMMAND_LOGIN_S)
            try:
                yield token
            finally:
                await postgres.rows("end_login", digest=digest_of(token))


def home_at(folder: Path) -> Home:
    """Name the home at `folder`; CannotStart when something else is there."""
    home = Home.at(folder)
    if home.root.exists() and not home.root.is_dir():
        raise CannotStart(f"{home.root} is a file, not a folder: choose another --home.")
    return home


def make(command: str, home: Home) -> str:
    """Return the exact command a person types for this home."""
    own = home.root != DEFAULT_HOME
    return f"make {command} HOME_DIR={shlex.quote(str(home.root))}" if own else f"make {command}"


async def admin_id(postgres: Postgres) -> str:
    """Return the administrator's id; made when nobody is there yet."""
    return str(await postgres.value("ensure_user", tenant="default", name=ADMIN, role="admin"))


async def new_link(place: Place) -> str:
    """Return a sign-in link of the administrator."""
    async with place.postgres() as postgres:
        return await link_for(place, postgres, await admin_id(postgres))


async def link_for(place: Place, postgres: Postgres, user: str) -> str:
    """Return a person's sign-in link that works once, for 15 minutes."""
    token = secrets.token_urlsafe(24)
    await postgres.rows("create_login_link", digest=digest_of(token), user=user, life_s=LINK_LIFE_S)
    return f"{place.config.url}/login/{token}"


def local_time(moment: datetime) -> str:
    """Return a moment in this machine's local time: `14:03:22`, with its day unless that is today."""
    local = moment.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return f"{local:%H:%M:%S}" if today else f"{local:%Y-%m-%d %H:%M:%S}"


def digest_of(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).digest()
