"""The composition root of the control plane."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

from appliance.core import logs, settings
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.web.app import create_app
from control_plane.live import Live
from control_plane.pages import PAGES
from control_plane.queries import Queries

_GRACE_S = 2


def application(config: Settings) -> ASGIApp:
    """Build the web application; connections open with it and close with it."""
    redis, postgres = Redis(config), Postgres(config, application="control plane")
    queries = Queries(redis, postgres, config)
    live = Live(queries.overview)

    @asynccontextmanager
    async def stores(_app: Litestar) -> AsyncIterator[None]:
        await postgres.open()
        try:
            yield
        finally:
            await live.aclose()
            await postgres.aclose()
            await redis.aclose()

    return create_app(
        config,
        postgres=postgres,
        handlers=PAGES,
        templates=[Path(__file__).parent / "templates"],
        checks={"redis": redis.ping, "postgresql": postgres.ping},
        lifespan=[stores],
        dependencies={
            "queries": Provide(lambda: queries, sync_to_thread=False),
            "live": Provide(lambda: live, sync_to_thread=False),
        },
    )


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
    asyncio.run(uvicorn.Server(served).serve())
