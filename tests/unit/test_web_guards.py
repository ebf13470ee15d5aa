"""Who may send what to a web program: the guards in front of every handler, without a server or a store."""

from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest
from litestar import post

from appliance.core.postgres import Postgres
from appliance.core.settings import load
from appliance.web.app import create_app
from appliance.web.protection import cookie_name
from appliance.web.tokens import form_token

SETTINGS = load(public_url="http://127.0.0.1:8080", cluster_secret="known to the cluster")
LOGIN = "the-login-of-ada"
# The product's own handlers use a spelling that the framework would like to see changed; no matter of guards.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated inferred style")
OWN_SITE = {"Origin": SETTINGS.public_url}


class OneLogin:
    """Stands for the one statement that recognises a login."""

    async def row(self, name: str, /, **values: object) -> dict[str, Any]:
        assert name == "login"
        return {"id": uuid4(), "name": "ada", "role": "operator", "tenant_id": "default"}


@post("/done", status_code=200)
async def do_it() -> str:
    return "done"


@pytest.fixture
async def web() -> AsyncIterator[httpx2.AsyncClient]:
    app: Any = create_app(SETTINGS, postgres=cast(Postgres, OneLogin()), handlers=[do_it], templates=[], checks={})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=SETTINGS.public_url) as client:
        yield client


@pytest.fixture
def browser(web: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """A signed-in person's browser: it sends the cookie with everything, whoever made it send."""
    web.cookies.set(cookie_name(SETTINGS), LOGIN)
    return web


def own_form() -> dict[str, str]:
    return {"_csrf": form_token(SETTINGS.cluster_secret.get_secret_value(), LOGIN)}


async def test_a_stranger_is_refused(web: httpx2.AsyncClient) -> None:
    assert (await web.post("/done", data=own_form(), headers=OWN_SITE)).status_code == 401


async def test_our_own_form_is_taken(browser: httpx2.AsyncClient) -> None:
    assert (await browser.post("/done", data=own_form(), headers=OWN_SITE)).text == "done"


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
async def test_what_another_site_makes_a_browser_send_is_refused(
    browser: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await browser.post("/done", data=own_form(), headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text


@pytest.mark.parametrize("form", [{}, {"_csrf": ""}, {"_csrf": form_token("another cluster", LOGIN)}])
async def test_a_form_that_is_not_ours_is_refused(browser: httpx2.AsyncClient, form: dict[str, str]) -> None:
    answer = await browser.post("/done", data=form, headers=OWN_SITE)
    assert answer.status_code == 403
    assert "not ours" in answer.text


async def test_a_form_of_another_login_is_refused(browser: httpx2.AsyncClient) -> None:
    form = {"_csrf": form_token(SETTINGS.cluster_secret.get_secret_value(), "the-login-of-bob")}
    assert (await browser.post("/done", data=form, headers=OWN_SITE)).status_code == 403


async def test_a_program_with_a_bearer_needs_neither_form_nor_origin(web: httpx2.AsyncClient) -> None:
    assert (await web.post("/done", headers={"Authorization": f"Bearer {LOGIN}"})).text == "done"
