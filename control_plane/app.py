"""The composition root of the control plane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

from appliance.core import logs, settings
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.core.task_acts import TaskActs
from appliance.core.task_lists import TaskLists
from appliance.web.app import create_app
from appliance.web.server import Server
from control_plane.api import API
from control_plane.api_tasks import TASK_API
from control_plane.discovery import targets
from control_plane.live import Live
from control_plane.measured import Measured
from control_plane.pages import PAGES
from control_plane.pages.tasks import chosen
from control_plane.queries import Queries
from control_plane.queries.agents import AgentReads
from control_plane.queries.audit import AuditReads
from control_plane.queries.games import GameReads
from control_plane.queries.questions import QuestionReads
from control_plane.queries.sessions import SessionReads
from control_plane.queries.stores import StoreReads
from control_plane.queries.tasks import LiveTasks
from control_plane.steering import Steering

_GRACE_S = 2
AGENTS_EVERY_S = 0.5
"""Pages that ask the process manager or the Docker daemon, too, read a little less often."""


class Reads:
    """Everything that handlers ask for by name; what keeps pages up to date ends with `aclose`."""

    def __init__(self, config: Settings, redis: Redis, postgres: Postgres, steering: Steering) -> None:
        queries, lists = Queries(redis, postgres, config), TaskLists(postgres)
        agents = AgentReads(queries, steering.operations.state, steering.fleet)
        games = GameReads(postgres, queries, enabled=config.game_day)
        self._lives: dict[str, Live[Any]] = {
            "live": Live(queries.overview),
            "agents_live": Live(agents.view, AGENTS_EVERY_S),
            "games_live": Live(games.view, AGENTS_EVERY_S),
        }
        self._tasks = LiveTasks(lists)
        self.named: dict[str, object] = {
            "queries": queries,
            **self._lives,
            "agent_reads": agents,
            "games": games,
            "registry": Registry(redis),
            "facts": StoreReads(redis, postgres, queries, config),
            "log": AuditReads(postgres),
            "question_reads": QuestionReads(postgres),
            "fleet": steering.fleet,
            "operations": steering.operations,
            "session_reads": SessionReads(redis, postgres),
            "task_lists": lists,
            "task_changes": TaskActs(postgres),
            "live_tasks": self._tasks,
        }

    async def aclose(self) -> None:
        """Stop reading."""
        for live in self._lives.values():
            await live.aclose()
        await self._tasks.aclose()


def application(config: Settings) -> ASGIApp:
    """Build the web application; connections open with it and close with it."""
    redis, postgres = Redis(config), Postgres(config, application="control plane")
    steering = Steering(config, redis, postgres)
    reads, measured = Reads(config, redis, postgres, steering), Measured(redis, postgres, config)

    @asynccontextmanager
    async def stores(_app: Litestar) -> AsyncIterator[None]:
        await postgres.open()
        try:
            async with steering.running():
                yield
        finally:
            await reads.aclose()
            await measured.aclose()
            await postgres.aclose()
            await redis.aclose()

    return create_app(
        config,
        postgres=postgres,
        handlers=[*PAGES, *API, *TASK_API, targets],
        templates=[Path(__file__).parent / "templates"],
        checks={"redis": redis.ping, "postgresql": postgres.ping},
        measure=measured.text,
        lifespan=[stores],
        after_exception=[steering.keep_refusal],
        dependencies={name: provided(reader) for name, reader in reads.named.items()}
        | {"only": Provide(chosen, sync_to_thread=False)},
    )


def provided(value: object) -> Provide:
    """Return what hands `value` to every handler that names it."""
    return Provide(lambda: value, sync_to_thread=False)


def main() -> None:
    """Serve until SIGTERM."""
    config = settings.load("control")
    logs.configure(config.log_level, program="control-plane")
    served = uvicorn.Config(
        application(config),
        host=config.control_plane_host,
        port=config.control_plane_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
        proxy_headers=False,
        server_header=False,
    )
    uvloop.run(Server(served).serve())
