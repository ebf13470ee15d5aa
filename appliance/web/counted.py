"""Counts requests: by method, by the route's template (never by the path, of which there is no end) and by status."""

import time
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from appliance.core.metrics import HTTP_SECONDS, exposition

NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


async def own_numbers() -> bytes:
    """Return what every program counts, for one that counts nothing else."""
    return exposition()


def counted(app: ASGIApp) -> ASGIApp:
    """Observe the time until each answer begins: a stream goes on for as long as somebody listens."""
    observers: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def observe(scope: Scope, status: int, seconds: float) -> None:
        method = scope.get("method", "")
        key = (method if method in _METHODS else "other", str(scope.get("path_template") or NO_ROUTE), status)
        if (observe_it := observers.get(key)) is None:
            observe_it = observers[key] = HTTP_SECONDS.labels(*key).observe
        observe_it(seconds)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await app(scope, receive, send)
        began = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                observe(scope, message["status"], time.perf_counter() - began)
            await send(message)

        return await app(scope, receive, sending)

    return wrapped
