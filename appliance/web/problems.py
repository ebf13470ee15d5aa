"""Errors on the wire: RFC 9457 problem details for programs, a page or a fragment for people. Translated once, here."""

from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Response

from appliance.core import logs
from appliance.core.errors import BadInput, NexusError, NotFound, StoreAway, TooLarge, Unauthenticated
from appliance.web.rendering import page

log = logs.get("web")
RETRY_AFTER_S = "2"
Asked = Request[Any, Any, Any]


class Problem(msgspec.Struct, frozen=True):
    """The body of an error; `type` names the kind for programs."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    """The path that was asked for."""
    request_id: str = ""
    """Under this id the gateway and the agents logged it."""


def on_nexus_error(request: Asked, error: NexusError) -> Response[Any]:
    """Answer with what the error says of itself."""
    if isinstance(error, Unauthenticated) and wants_page(request) and "/login" not in request.url.path:
        if _is_htmx(request):  # a redirect would put the login page into the middle of this one
            return Response("", status_code=401, headers={"HX-Redirect": "/login"})
        return Redirect("/login", status_code=303)
    return _answer(request, error)


def on_http_error(request: Asked, error: HTTPException) -> Response[Any]:
    """Answer Litestar's own refusals in our words."""
    if error.status_code == 404:
        return _answer(request, NotFound())
    if error.status_code == 413:
        return _answer(request, TooLarge())
    if error.status_code == 400:
        return _answer(request, BadInput(_readable(error)))
    known = type("HttpError", (NexusError,), {"status": error.status_code, "__doc__": error.detail})
    return _answer(request, known())


def on_broken_text(request: Asked, _error: UnicodeDecodeError) -> Response[Any]:
    """Answer a body that is not text."""
    return _answer(request, BadInput("The text is not valid UTF-8; nothing was sent."))


def _readable(error: HTTPException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [f"{it.get('key', 'body')}: {it.get('message', '')}" for it in extra if isinstance(it, dict)]
    return "; ".join(parts) or error.detail or "The request cannot be understood."


def on_any_error(request: Asked, error: Exception) -> Response[Any]:
    """Answer what nobody expected: logged with its trace, shown without."""
    log.error("unexpected_error", path=request.url.path, error=repr(error), exc_info=error)
    return _answer(request, NexusError("Something went wrong here; it was logged. Nothing accepted is lost."))


def _answer(request: Asked, error: NexusError) -> Response[Any]:
    headers = {"Retry-After": RETRY_AFTER_S} if error.retryable else {}
    if wants_page(request):
        shown = page(request, "error.html", block="notice" if _is_htmx(request) else None, error=error)
        return Response(shown.content, status_code=error.status, media_type="text/html", headers=headers)
    slug = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(error).__name__).strip("-")
    problem = Problem(
        type=f"urn:nexus:{slug}", title=error.title, status=error.status, detail=error.detail,
        instance=request.url.path, request_id=request.headers.get("x-request-id", ""),
    )  # fmt: skip
    return Response(problem, status_code=error.status, media_type="application/problem+json", headers=headers)


def _is_htmx(request: Asked) -> bool:
    return request.headers.get("hx-request") == "true"


def wants_page(request: Asked) -> bool:
    """Whether a person's browser asks, so that an error is shown and not just told."""
    if request.url.path.startswith(("/api/", "/control/api/")):
        return False
    return "text/html" in request.headers.get("accept", "") or _is_htmx(request)


HANDLERS: dict[Any, Any] = {
    NexusError: on_nexus_error,
    StoreAway: on_nexus_error,
    HTTPException: on_http_error,
    UnicodeDecodeError: on_broken_text,
    Exception: on_any_error,
}
