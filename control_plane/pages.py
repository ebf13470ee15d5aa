"""The pages of the control plane: ask, show."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response, Stream

from appliance.core.history import Failover
from appliance.web.auth import Logins
from appliance.web.rendering import block_renderer, page
from control_plane.live import Live, as_sse
from control_plane.queries import Overview, Queries

Reads = NamedDependency[SkipValidation[Queries]]
Readings = NamedDependency[SkipValidation[Live]]
Service = NamedDependency[SkipValidation[Logins]]


@get("/control", operation_id="overview_page", include_in_schema=False)
async def overview(request: Request[Any, Any, Any], queries: Reads) -> Response[str]:
    """The cluster at a glance."""
    return page(request, "overview.html", overview=await queries.overview())


@get("/control/live", operation_id="overview_live", include_in_schema=False)
async def overview_live(request: Request[Any, Any, Any], live: Readings, logins: Service) -> Stream:
    """The same, again and again while the page is open."""
    render = block_renderer(request, "overview.html", "cluster")
    return Stream(
        as_sse(_while_signed_in(live.readings(), logins, request.auth), lambda overview: render(overview=overview)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _while_signed_in(readings: AsyncIterator[Overview], logins: Logins, login: str) -> AsyncIterator[Overview]:
    """Pass readings on until the login ends; while PostgreSQL is away no login can end."""
    async for reading in readings:
        if "PostgreSQL" not in reading.away and await logins.resolve(login) is None:
            return
        yield reading


@get("/control/api/v1/overview", operation_id="get_overview")
async def overview_json(queries: Reads) -> Overview:
    """The same as JSON."""
    return await queries.overview()


@get("/control/history", operation_id="history_page", include_in_schema=False)
async def history(request: Request[Any, Any, Any], queries: Reads) -> Response[str]:
    """Who followed whom as primary, and how each millisecond was spent."""
    return page(request, "history.html", failovers=await queries.failovers())


@get("/control/api/v1/history", operation_id="get_history")
async def history_json(queries: Reads) -> list[Failover]:
    """The same as JSON, the newest first."""
    return await queries.failovers()


PAGES = [overview, overview_live, overview_json, history, history_json]
