"""Who asks a control plane that stands alone: programs with a token, browsers with a login."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from appliance.web.protection import cookie_name
from appliance.web.tokens import form_token
from tests.cluster import Cluster

API = "/control/api/v1"


@asynccontextmanager
async def program(own: Cluster, role: str = "operator") -> AsyncIterator[httpx2.AsyncClient]:
    """A program with somebody's token."""
    _, token = await own.sign_in(f"the {role}", role)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{own.control_port}", headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as http:
        yield http


@asynccontextmanager
async def browser(own: Cluster, role: str = "operator") -> AsyncIterator[httpx2.AsyncClient]:
    """A browser without JavaScript; its forms carry their token."""
    _, login = await own.sign_in(f"the {role}", role)
    token = form_token(own.settings.cluster_secret.get_secret_value(), login)
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{own.control_port}", cookies={cookie_name(own.settings): login},
        headers={"Accept": "text/html", "X-CSRFToken": token}, timeout=30,
    ) as http:  # fmt: skip
        yield http
