"""Who may do what: a viewer reads, an operator changes the fleet, an admin may hurt it."""

from typing import Any, Literal

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import Forbidden
from appliance.core.records import User
from appliance.web.protection import ROLES


def needs(role: Literal["viewer", "operator", "admin"]) -> Any:
    """Return a guard that lets only this role and the ones above it pass: `guards=[needs("operator")]`."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        user: User = connection.user
        if ROLES.index(user.role) < ROLES.index(role):
            raise Forbidden(f"This needs the role {role}; yours is {user.role}.")

    return guard
