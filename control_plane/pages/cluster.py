"""The cluster at a glance, live."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response, Stream

from appliance.web.rendering import block_renderer
from control_plane.live import Live
from control_plane.pages.common import Asked, Reads, Service, framed, may, streamed
from control_plane.queries import Overview
from control_plane.topology import drawn

Readings = NamedDependency[SkipValidation[Live[Overview]]]


@get("/control", operation_id="overview_page", include_in_schema=False)
async def overview(request: Asked, queries: Reads) -> Response[str]:
    """The cluster at a glance."""
    seen = await queries.overview()
    return await framed(request, "cluster.html", queries, overview=seen, drawing=drawn(seen))


@get("/control/live", operation_id="overview_live", include_in_schema=False)
async def overview_live(request: Asked, live: Readings, logins: Service) -> Stream:
    """The same, again and again while the page is open."""
    render = block_renderer(request, "cluster.html", "live")
    return streamed(request, live, logins, lambda seen: render(overview=seen, drawing=drawn(seen), may=may(request)))


@get("/control/api/v1/overview", operation_id="get_overview")
async def overview_json(queries: Reads) -> Overview:
    """The same as JSON."""
    return await queries.overview()


HANDLERS = [overview, overview_live, overview_json]
