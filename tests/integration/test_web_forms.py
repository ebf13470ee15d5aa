"""What no store could keep is refused before any handler sees it; one's own account."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from appliance.web.auth import Logins
from appliance.web.protection import cookie_name
from appliance.web.tokens import form_token
from tests.client import Client
from tests.cluster import Cluster
from tests.integration.test_web_protection import a_link

HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def form(cluster: Cluster) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """A browser of somebody signed in, and its form token."""
    _, login = await cluster.sign_in("ida")
    token = form_token(cluster.settings.cluster_secret.get_secret_value(), login)
    cookies = {cookie_name(cluster.settings): login}
    async with httpx2.AsyncClient(base_url=cluster.url, cookies=cookies, headers=HTML) as http:
        yield http, token


@pytest.mark.parametrize("query", ["q=%00", "q=%ff"])
async def test_an_unreadable_search_is_refused_with_a_sentence(client: Client, query: str) -> None:
    answer = await client.http.get(f"/api/v1/conversations?{query}")
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:nexus:bad-input"


@pytest.mark.parametrize(
    ("text", "status"),
    [(b'"\\u0000"', 400), (b'"\\\\\\u0000"', 400), (b'"\\\\u0000 is how NUL is written"', 202)],
)
async def test_an_escaped_nul_is_refused_but_not_the_talk_of_it(client: Client, text: bytes, status: int) -> None:
    path = f"/api/v1/conversations/{await client.create()}/messages"
    answer = await client.http.post(path, content=b'{"text": "x [[tokens=1]]", "client_id": ' + text + b"}")
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("body", [b"name=a%00&password=x", b"name=%ff&password=x", b"name=\xff&password=x"])
async def test_a_login_form_that_is_no_text_is_refused(cluster: Cluster, body: bytes) -> None:
    async with httpx2.AsyncClient(base_url=cluster.url) as stranger:
        answer = await stranger.post("/login", content=body, headers=FORM)
    assert answer.status_code == 400


async def test_a_file_in_place_of_text_counts_as_no_text(form: tuple[httpx2.AsyncClient, str]) -> None:
    http, token = form
    path = "/c/00000000-0000-4000-8000-000000000000/messages"
    answer = await http.post(path, files={"text": ("a.txt", b"hello")}, data={"_csrf": token})
    assert answer.status_code == 400
    assert "empty" in answer.text


async def test_a_refused_login_keeps_the_name(cluster: Cluster) -> None:
    async with httpx2.AsyncClient(base_url=cluster.url, headers=HTML) as stranger:
        answer = await stranger.post("/login", data={"name": 'zoe"<b>', "password": "wrong"})
    assert answer.status_code == 401
    assert "zoe&#34;&lt;b&gt;" in answer.text


async def test_a_new_password_ends_every_other_login(cluster: Cluster, form: tuple[httpx2.AsyncClient, str]) -> None:
    http, token = form
    _, elsewhere = await cluster.sign_in("ida")
    answer = await http.post("/account/password", data={"password": "correct horse battery", "_csrf": token})
    assert answer.status_code == 200
    assert await Logins(cluster.postgres).resolve(elsewhere) is None
    assert (await http.get("/account")).status_code == 200


async def test_signing_out_everywhere_ends_every_login(cluster: Cluster, form: tuple[httpx2.AsyncClient, str]) -> None:
    http, token = form
    _, elsewhere = await cluster.sign_in("ida")
    assert (await http.post("/logout/everywhere", data={"_csrf": token})).status_code == 303
    assert await Logins(cluster.postgres).resolve(elsewhere) is None


async def test_a_link_fetched_ahead_of_its_reader_is_not_used_up(cluster: Cluster) -> None:
    link = await a_link(cluster)
    async with httpx2.AsyncClient(base_url=cluster.url) as browser:
        assert (await browser.get(f"/login/{link}", headers={"Sec-Purpose": "prefetch"})).status_code == 429
        assert (await browser.get(f"/login/{link}")).status_code == 303


async def test_htmx_is_sent_to_the_login_page_instead_of_swapping_it_in(cluster: Cluster) -> None:
    async with httpx2.AsyncClient(base_url=cluster.url) as stranger:
        answer = await stranger.get("/account", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login"
