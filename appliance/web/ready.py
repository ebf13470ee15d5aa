"""What machines ask: does the process live, can it work, what does it count."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from appliance.core.errors import NexusError
from appliance.core.metrics import CONTENT_TYPE
from appliance.web.protection import PUBLIC

Check = Callable[[], Awaitable[object]]
Measure = Callable[[], Awaitable[bytes]]
"""Returns Prometheus' text."""
CHECK_S = 2.0


@get("/healthz", opt={PUBLIC: True}, include_in_schema=False, sync_to_thread=False)
def healthz() -> str:
    """The process lives."""
    return "ok"


def metrics(measure: Measure) -> HTTPRouteHandler:
    """Make the handler of /metrics, which the gateway does not pass on."""

    @get("/metrics", opt={PUBLIC: True}, include_in_schema=False)
    async def measured() -> Response[bytes]:
        """What Prometheus reads."""
        return Response(await measure(), media_type=CONTENT_TYPE)

    return measured


def readyz(checks: Mapping[str, Check]) -> HTTPRouteHandler:
    """Make the handler of /readyz: 200 when every part answers, else 503 that names the failing ones."""

    @get("/readyz", opt={PUBLIC: True}, include_in_schema=False)
    async def ready() -> Response[dict[str, Any]]:
        """The process can work."""
        states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
        good = all(state == "ok" for state in states.values())
        return Response(states, status_code=200 if good else 503)

    return ready


async def _state(check: Check) -> str:
    try:
        # Shielded: a store's reply must not be left half read when patience ends here.
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(check())), CHECK_S)
    except TimeoutError:
        return "does not answer"
    except NexusError as error:
        return error.detail
    return "ok"
