"""Login, form tokens, origins, headers and errors, through the gateway."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from appliance.web.auth import Logins
from appliance.web.protection import cookie_name
from appliance.web.tokens import digest_of, form_token
from tests.client import Client
from tests.cluster import Cluster

HTML = {"Accept": "text/html"}


@pytest.fixture
async def stranger(cluster: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=cluster.url) as http:
        yield http


async def a_link(cluster: Cluster, *, life_s: int = 60, name: str = "lin") -> str:
    row = await cluster.postgres.row("ensure_user", tenant="default", name=name, role="operator")
    assert row is not None
    token = secrets.token_urlsafe(24)
    await cluster.postgres.rows("create_login_link", digest=digest_of(token), user=row["id"], life_s=life_s)
    return token


@pytest.fixture
async def browser(cluster: Cluster, stranger: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """A person signed in by a link, with the cookie only."""
    await stranger.get(f"/login/{await a_link(cluster)}")
    return stranger


def csrf_of(cluster: Cluster, browser: httpx2.AsyncClient) -> str:
    login = browser.cookies[cookie_name(cluster.settings)]
    return form_token(cluster.settings.cluster_secret.get_secret_value(), login)


async def test_a_link_signs_in_once(cluster: Cluster, stranger: httpx2.AsyncClient) -> None:
    link = f"/login/{await a_link(cluster)}"
    first = await stranger.get(link)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    again = await stranger.get(link, headers=HTML)
    assert again.status_code == 401
    assert "make link" in again.text


async def test_an_old_link_signs_nobody_in(cluster: Cluster, stranger: httpx2.AsyncClient) -> None:
    answer = await stranger.get(f"/login/{await a_link(cluster, life_s=-1)}")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


async def test_a_stranger_is_led_to_the_login_and_a_program_is_told_401(stranger: httpx2.AsyncClient) -> None:
    page = await stranger.get("/", headers=HTML)
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    api = await stranger.get("/api/v1/conversations")
    assert api.status_code == 401
    assert api.headers["content-type"].startswith("application/problem+json")


async def test_a_password_signs_in_and_a_wrong_one_tells_nothing(cluster: Cluster, browser: httpx2.AsyncClient) -> None:
    form = {"password": "correct horse battery", "_csrf": csrf_of(cluster, browser)}
    assert (await browser.post("/account/password", data=form)).status_code == 200
    async with httpx2.AsyncClient(base_url=cluster.url) as other:
        right = await other.post("/login", data={"name": "lin", "password": "correct horse battery"})
        assert right.status_code == 303
        wrong = await other.post("/login", data={"name": "lin", "password": "x"}, headers=HTML)
        nobody = await other.post("/login", data={"name": "nobody", "password": "x"}, headers=HTML)
    assert wrong.status_code == nobody.status_code == 401
    assert "The name or the password is wrong." in wrong.text
    assert "The name or the password is wrong." in nobody.text


async def test_a_short_password_is_refused_with_the_rule(cluster: Cluster, browser: httpx2.AsyncClient) -> None:
    form = {"password": "short", "_csrf": csrf_of(cluster, browser)}
    answer = await browser.post("/account/password", data=form, headers=HTML)
    assert answer.status_code == 400
    assert "12 to 1000 characters" in answer.text


async def test_guessing_passwords_is_slowed_down(cluster: Cluster) -> None:
    agent = (await cluster.view()).agents[0]
    async with httpx2.AsyncClient(base_url=f"http://{agent.host}:{agent.port}") as guesser:
        answers = [await guesser.post("/login", data={"name": "guessed", "password": str(n)}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


async def test_signing_out_ends_the_login(cluster: Cluster, browser: httpx2.AsyncClient) -> None:
    login = browser.cookies[cookie_name(cluster.settings)]
    assert (await browser.post("/logout", data={"_csrf": csrf_of(cluster, browser)})).status_code == 303
    assert await Logins(cluster.postgres).resolve(login) is None


@pytest.mark.parametrize("token", [None, "wrong", "é"])
async def test_a_form_without_its_token_is_refused(browser: httpx2.AsyncClient, token: str | None) -> None:
    data = {"password": "long enough password"} | ({"_csrf": token} if token else {})
    answer = await browser.post("/account/password", data=data)
    assert answer.status_code == 403
    assert "reload the page" in answer.json()["detail"]


async def test_another_sites_form_is_refused_even_with_the_token(cluster: Cluster, browser: httpx2.AsyncClient) -> None:
    form = {"password": "long enough password", "_csrf": csrf_of(cluster, browser)}
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await browser.post("/account/password", data=form, headers=headers)).status_code == 403


async def test_only_a_bearer_counts_as_sent_on_purpose(browser: httpx2.AsyncClient) -> None:
    headers = {"Authorization": "Basic YTpi", "Origin": "http://evil.example"}
    assert (await browser.post("/account/password", data={"password": "x" * 12}, headers=headers)).status_code == 403


async def test_a_bearer_needs_no_form_token(client: Client) -> None:
    assert (await client.http.post("/api/v1/conversations", json={})).status_code == 201


@pytest.mark.parametrize("path", ["/login", "/nowhere", "/static/x/app.css", "/api/v1/conversations", "/login/wrong"])
async def test_every_answer_carries_the_security_headers(stranger: httpx2.AsyncClient, path: str) -> None:
    headers = (await stranger.get(path)).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path", ["../app.py", "..%2f..%2fapp.py", "vendor/../../app.py", "nothing.css", "vendor", "a" * 300]
)
async def test_only_files_of_the_look_are_served(cluster: Cluster, path: str) -> None:
    agent = (await cluster.view()).agents[0]
    async with httpx2.AsyncClient(base_url=f"http://{agent.host}:{agent.port}") as direct:
        assert (await direct.get(f"/static/x/{path}")).status_code == 404


async def test_static_files_may_be_kept_for_ever(stranger: httpx2.AsyncClient) -> None:
    answer = await stranger.get("/static/x/app.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz"])
async def test_what_machines_ask_is_not_passed_on_by_the_gateway(cluster: Cluster, path: str) -> None:
    agent = (await cluster.view()).agents[0]
    async with httpx2.AsyncClient() as http:
        assert (await http.get(cluster.url + path)).status_code == 404
        assert (await http.get(f"http://{agent.host}:{agent.port}{path}")).status_code == 200


async def refused(client: Client, method: str, path: str, **body: Any) -> tuple[int, str]:
    answer = await client.http.request(method, path, **body)
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["detail"]


async def test_a_one_megabyte_message_is_refused_with_a_sentence(client: Client) -> None:
    path = f"/api/v1/conversations/{await client.create()}/messages"
    status, detail = await refused(client, "POST", path, json={"text": "x" * 1_000_000})
    assert status == 413
    assert "256 KiB" in detail


async def test_a_five_megabyte_body_is_413_from_an_agent_itself(cluster: Cluster, client: Client) -> None:
    agent = (await cluster.view()).agents[0]
    direct = f"http://{agent.host}:{agent.port}/api/v1/conversations"
    assert (await refused(client, "POST", direct, json={"title": "x" * 5_000_000}))[0] == 413


async def test_a_five_megabyte_body_is_refused_by_the_gateway_with_a_problem(client: Client) -> None:
    path = f"/api/v1/conversations/{await client.create()}/messages"
    assert (await refused(client, "POST", path, json={"text": "x" * 5_000_000}))[0] == 413


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"text": "\xff\xfe"}', "UTF-8"),
        (b'{"text": "a\\u0000b"}', "NUL"),
        (b"{not json", "malformed"),
        (b'{"text": 5}', "text"),
        (b'{"txt": "x"}', "txt"),
        (b"[]", "object"),
    ],
)
async def test_an_unreadable_message_is_refused_with_what_is_wrong(client: Client, body: bytes, word: str) -> None:
    path = f"/api/v1/conversations/{await client.create()}/messages"
    status, detail = await refused(client, "POST", path, content=body, headers={"Content-Type": "application/json"})
    assert status == 400
    assert word.lower() in detail.lower()


async def test_a_broken_utf8_form_is_refused_with_a_sentence(cluster: Cluster, browser: httpx2.AsyncClient) -> None:
    body = f"_csrf={csrf_of(cluster, browser)}&text=%ff%fe".encode()
    headers = HTML | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await browser.post("/c/00000000-0000-4000-8000-000000000000/messages", content=body, headers=headers)
    assert answer.status_code == 400
    assert "UTF-8" in answer.text


async def test_a_title_of_ten_thousand_characters_is_refused_with_the_limit(client: Client) -> None:
    status, detail = await refused(client, "POST", "/api/v1/conversations", json={"title": "t" * 10_000})
    assert status == 400
    assert "200 are allowed" in detail


@pytest.mark.parametrize("name", ["00000000-0000-4000-8000-000000000000", "not-a-uuid", "'--"])
async def test_an_unknown_conversation_is_404(client: Client, name: str) -> None:
    assert (await client.http.get(f"/api/v1/conversations/{name}")).status_code == 404
    assert (await client.http.post(f"/api/v1/conversations/{name}/messages", json={"text": "x"})).status_code == 404
    assert (await client.http.get(f"/api/v1/conversations/{name}/events")).status_code == 404


async def test_another_persons_conversation_is_404_not_403(cluster: Cluster, client: Client) -> None:
    conversation = await client.create()
    _, token = await cluster.sign_in("eve")
    eve = Client(cluster.url, token)
    for method, path in [("GET", ""), ("POST", "/messages"), ("GET", "/events"), ("DELETE", "")]:
        answer = await eve.http.request(method, f"/api/v1/conversations/{conversation}{path}", json={"text": "x"})
        assert answer.status_code == 404, (method, path)
    await eve.aclose()


async def test_an_error_is_a_page_for_people_and_a_fragment_for_htmx(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/c/nothing", headers=HTML)
    assert (page.status_code, "<html" in page.text) == (404, True)
    fragment = await browser.get("/c/nothing", headers={"HX-Request": "true"})
    assert (fragment.status_code, "<html" in fragment.text, 'role="alert"' in fragment.text) == (404, False, True)


@pytest.mark.parametrize("path", ["/login", "/account", "/control", "/api/v1/conversations", "/nowhere"])
async def test_no_method_is_an_error_of_ours(stranger: httpx2.AsyncClient, path: str) -> None:
    for method in ("OPTIONS", "HEAD", "PUT", "PATCH", "DELETE", "DANCE"):
        assert (await stranger.request(method, path)).status_code in (200, 204, 400, 401, 404, 405), method


async def test_a_login_link_is_never_logged(cluster: Cluster, stranger: httpx2.AsyncClient) -> None:
    link = await a_link(cluster)
    await stranger.get(f"/login/{link}")
    for name in ("gateway", "agent-1", "agent-2", "agent-3"):
        assert link not in cluster.log_of(name)
