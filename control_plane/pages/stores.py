"""How the cluster's stores are."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response

from control_plane.pages.common import Asked, Reads, framed
from control_plane.queries.stores import StoreReads, StoresView

Facts = NamedDependency[SkipValidation[StoreReads]]


@get("/control/stores", operation_id="stores_page", include_in_schema=False)
async def stores(request: Asked, queries: Reads, facts: Facts) -> Response[str]:
    """The eight numbers, Redis and PostgreSQL."""
    return await framed(request, "stores.html", queries, view=await facts.view())


@get("/control/api/v1/stores", operation_id="get_stores")
async def stores_json(facts: Facts) -> StoresView:
    """The same as JSON."""
    return await facts.view()


HANDLERS = [stores, stores_json]
