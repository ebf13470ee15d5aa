"""What stands in front of every handler: login, roles, same origin, form tokens, headers."""

import hmac
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import RequestEncodingType, ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from appliance.core.errors import BadInput, Forbidden, Unauthenticated
from appliance.core.settings import Settings
from appliance.web.auth import Logins
from appliance.web.tokens import form_token

Connection = ASGIConnection[Any, Any, Any, Any]
ROLES = ("viewer", "operator", "admin")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC = "public"
"""Put `opt={PUBLIC: True}` on a handler that needs no login."""
FORMS = (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART)
NO_NUL = "The text contains a NUL character, which cannot be stored."
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def cookie_name(settings: Settings) -> str:
    """Return the login cookie's name; cookies know no port, so it carries the port of this appliance."""
    return f"nexus_{settings.public_url.rpartition(':')[2].strip('/')}"


class Authentication(AbstractAuthenticationMiddleware):
    """Recognises the person by bearer token or cookie; handlers decide whether they need one."""

    def __init__(self, app: ASGIApp, settings: Settings, logins: Logins) -> None:
        super().__init__(app)
        self._cookie = cookie_name(settings)
        self._logins = logins

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        """Return the user and the token, or neither."""
        token = bearer_of(connection) or connection.cookies.get(self._cookie, "")
        user = await self._logins.resolve(token) if token and not _is_public(connection) else None
        return AuthenticationResult(user=user, auth=token if user else None)


def bearer_of(connection: Connection) -> str:
    """Return the token a program sends itself, '' for a browser: no other site can make a browser send one."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_public(connection: Connection) -> bool:
    handler = connection.scope.get("route_handler")
    return bool(handler and handler.opt.get(PUBLIC))


class Protection:
    """Guards that know the appliance's own address and secret."""

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.public_url
        self._secret = settings.cluster_secret.get_secret_value()

    def token(self, login: str | None) -> str:
        """Return the form token of a login."""
        return form_token(self._secret, login) if login else ""

    async def guard(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Refuse strangers, what cannot be read, other origins, and forms that are not ours."""
        if not handler.opt.get(PUBLIC) and connection.scope.get("user") is None:  # OPTIONS comes without
            raise Unauthenticated()
        await _refuse_unreadable(connection)
        by_header = bool(bearer_of(connection))
        if connection.scope["type"] == ScopeType.WEBSOCKET and not by_header:
            self._same_origin(connection.headers)
        elif isinstance(connection, Request) and connection.method not in SAFE and not by_header:
            self._same_origin(connection.headers)
            await self._own_form(connection)

    def _same_origin(self, headers: Headers) -> None:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site in ("same-origin", "none") or origin == self._origin or (site is None and origin is None):
            return
        raise Forbidden(f"This was sent from another site ({origin or site}); open Nexus at {self._origin}.")

    async def _own_form(self, request: Request[Any, Any, Any]) -> None:
        form = await readable_form(request)
        if request.auth is None:
            return  # signing in: nothing to protect yet but the origin
        given = request.headers.get("x-csrftoken") or form.get("_csrf") or ""
        if not hmac.compare_digest(str(given).encode(), self.token(request.auth).encode()):
            raise Forbidden("This form is too old or not ours; reload the page and send it again.")


async def _refuse_unreadable(connection: Connection) -> None:
    """Refuse what no store could keep, once and before any handler sees it: broken UTF-8 and NUL characters."""
    _check_text(unquote_to_bytes(connection.scope["query_string"]))
    if isinstance(connection, Request) and connection.method not in SAFE:
        body = await connection.body()
        _check_text(unquote_to_bytes(body) if _kind(connection) == RequestEncodingType.URL_ENCODED else body)
        if _kind(connection) not in FORMS and _ESCAPED_NUL.search(body):
            raise BadInput(NO_NUL)


def _check_text(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise BadInput("The text is not valid UTF-8; nothing was sent.") from None
    if b"\0" in text:
        raise BadInput(NO_NUL)


def _kind(request: Request[Any, Any, Any]) -> str:
    return str(request.content_type[0]).lower()


async def readable_form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the text fields of a form; {} for another kind of body."""
    if _kind(request) not in FORMS:
        return {}
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


def with_security_headers(app: ASGIApp) -> ASGIApp:
    """Put the same headers on every answer, errors and files included."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await app(scope, receive, sending)

    return wrapped
