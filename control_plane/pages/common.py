"""What the pages share: the frame around them, what was just done, streams that end with the login."""

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID, uuid4

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Redirect, Response, Stream

from appliance.core.errors import BadInput
from appliance.core.records import User
from appliance.web.auth import Logins
from appliance.web.protection import ROLES
from appliance.web.rendering import page
from control_plane.live import Live, as_sse
from control_plane.pages.acts import Act
from control_plane.queries import Queries

Asked = Request[Any, Any, Any]
Reads = NamedDependency[SkipValidation[Queries]]
Service = NamedDependency[SkipValidation[Logins]]


class Seen(Protocol):
    """A reading says which stores did not answer it."""

    @property
    def away(self) -> tuple[str, ...]:
        """Names of stores."""


Reading = TypeVar("Reading", bound=Seen)
SEE_OTHER: Literal[303] = 303
_SAID, _SAID_FOR_S = "nexus_said", 30


async def framed(request: Asked, name: str, queries: Queries, **context: Any) -> Response[Any]:
    """Render a page inside the control plane's frame: its rooms, the banner, what was just done."""
    answer = page(request, name, paused=await queries.paused(), said=_said(request), may=may(request), **context)
    if _SAID in request.cookies:
        answer.delete_cookie(_SAID, path="/control")
    return answer


def may(request: Asked) -> Callable[[str], bool]:
    """Return whether the person has a role or one above it; pages show no button that would be refused."""
    user: User = request.user
    return lambda role: ROLES.index(user.role) >= ROLES.index(role)


def is_htmx(request: Asked) -> bool:
    """Whether a part of the page asks, not the page."""
    return request.headers.get("hx-request") == "true"


async def confirm(request: Asked, queries: Queries, act: Act) -> Response[Any]:
    """Show what an act means, with the form that does it: a page, or under htmx its part of one."""
    key = uuid4()
    if is_htmx(request):
        return page(request, "act.html", block="confirm", act=act, key=key)
    return await framed(request, "act.html", queries, act=act, key=key)


def key_of(form: Mapping[str, str]) -> UUID:
    """Return the key that makes a form count once, however often it is sent.

    Raises:
        BadInput: it has none.
    """
    try:
        return UUID(form.get("key", ""))
    except ValueError:
        raise BadInput("This form has no key of its own; reload the page and send it again.") from None


def done(request: Asked, where: str, sentence: str) -> Response[Any]:
    """Answer a form that was carried out: a notice in its place under htmx, else the page it came from, saying so."""
    if is_htmx(request):
        return page(request, "said.html", status=200, said=sentence)
    answer = Redirect(where, status_code=SEE_OTHER)
    answer.set_cookie(
        _SAID, base64.urlsafe_b64encode(sentence.encode()).decode(), max_age=_SAID_FOR_S, path="/control",
        httponly=True, samesite="lax", secure=request.app.state["secure"],
    )  # fmt: skip
    return answer


def _said(request: Asked) -> str:
    try:
        return base64.urlsafe_b64decode(request.cookies.get(_SAID, "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def streamed(request: Asked, live: Live[Reading], logins: Logins, render: Callable[[Reading], str]) -> Stream:
    """Answer with every reading as HTML, until the login ends."""
    return event_stream(as_sse(while_signed_in(request, live.readings(), logins), render))


def event_stream(events: AsyncIterator[bytes]) -> Stream:
    """Answer with server-sent events."""
    return Stream(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def while_signed_in(request: Asked, items: AsyncIterator[Reading], logins: Logins) -> AsyncIterator[Reading]:
    """Pass readings on until the login ends; while PostgreSQL is away no login can end."""
    async for item in items:
        if "PostgreSQL" not in item.away and await logins.resolve(request.auth) is None:
            return
        yield item
