"""The history of failovers."""

from typing import Annotated

from litestar import get
from litestar.params import Parameter
from litestar.response import Response

from appliance.core.history import Failover
from control_plane.pages.common import Asked, Reads, framed
from control_plane.queries.cluster import PAGE

Before = Annotated[int | None, Parameter(ge=1, le=2**53)]


@get("/control/history", operation_id="history_page", include_in_schema=False)
async def failovers(request: Asked, queries: Reads, before: Before = None) -> Response[str]:
    """Who followed whom as primary, and how each millisecond was spent; the newest first, a page at a time."""
    found = await queries.failovers(before)
    older = found[-1].epoch if len(found) == PAGE and found[-1].epoch > 1 else None
    return await framed(request, "failovers.html", queries, failovers=found, before=before, older=older)


@get("/control/api/v1/history", operation_id="get_history")
async def history_json(queries: Reads, before: Before = None) -> list[Failover]:
    """The same as JSON, the newest first."""
    return await queries.failovers(before)


HANDLERS = [failovers, history_json]
