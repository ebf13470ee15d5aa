"""nginx with the one template, before two agents that are played here: routes, limits, retries and what is logged."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from aiohttp import web

from appliance.embedded import nginx
from appliance.embedded.places import Home
from appliance.embedded.programs import start, stop, wait_ready
from appliance.gateway.nginx_config import replace, upstream_list
from tests.ports import free_port
from tests.waiting import wait_until


class PlayedAgent:
    """Says what it was asked; can fall silent or refuse."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, free_port()
        self.silent, self.refuses, self.hangs_up = False, False, False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.silent:
            await asyncio.sleep(30)
        if self.hangs_up and request.transport is not None:
            request.transport.close()
        if self.refuses:
            return web.Response(status=503, text="busy")
        said = {"agent": self.name, "method": request.method, "bytes": len(body), "headers": dict(request.headers)}
        return web.json_response(said)

    async def serve(self) -> None:
        app = web.Application(client_max_size=2**23)
        app.router.add_route("*", "/{path:.*}", self.answer)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()


class Gateway:
    """A running nginx and what is behind it."""

    def __init__(self, home: Home, port: int, agents: list[PlayedAgent]) -> None:
        self.home, self.agents = home, agents
        self.http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)

    async def asked(self, path: str) -> str:
        return str((await self.http.get(path)).json()["agent"])

    async def agent_of(self, path: str) -> PlayedAgent:
        name = await self.asked(path)
        return next(agent for agent in self.agents if agent.name == name)

    @property
    def log(self) -> str:
        return (self.home.logs / "nginx.log").read_text()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    home, port = Home.at(tmp_path / "a home").create(), free_port()
    agents = [PlayedAgent("one"), PlayedAgent("two")]
    for agent in agents:
        await agent.serve()
    nginx.configure(home, port)
    replace(home.nginx / "agents.conf", upstream_list(("127.0.0.1", agent.port) for agent in agents))
    program = nginx.nginx(home, port)
    process = start(program, home.logs / "nginx.log")
    await asyncio.to_thread(wait_ready, program, 10, process)
    running = Gateway(home, port, agents)
    yield running
    await running.http.aclose()
    await asyncio.to_thread(stop, program, process)
    for agent in agents:
        await agent.runner.cleanup()


async def test_a_conversation_stays_with_one_agent_until_its_try_changes(gateway: Gateway) -> None:
    page = {await gateway.asked("/c/7/anything") for _ in range(5)}
    api = {await gateway.asked("/api/v1/conversations/7") for _ in range(5)}
    tries = {await gateway.asked(f"/c/7/events?try={number}") for number in range(20)}

    assert len(page) == 1
    assert api == page
    assert tries == {"one", "two"}


@pytest.mark.parametrize("path", ["/c/7/messages", "/api/v1/conversations/7/messages"])
async def test_a_message_of_1_mb_reaches_the_agent_and_one_of_4_mb_does_not(gateway: Gateway, path: str) -> None:
    small = await gateway.http.post(path, content=b"x" * 1_000_000)
    large = await gateway.http.post(path, content=b"x" * 4_000_000)

    assert small.json()["bytes"] == 1_000_000
    assert large.status_code == 413
    kind = "application/problem+json" if path.startswith("/api") else "text/html"
    assert large.headers["content-type"].startswith(kind)


@pytest.mark.parametrize(("path", "status"), [("/c/7/messages", 200), ("/c/7/stop", 503)])
async def test_a_message_goes_to_the_next_agent_and_other_posts_do_not(
    gateway: Gateway, path: str, status: int
) -> None:
    first = await gateway.agent_of("/c/7/x")
    first.hangs_up = True

    answer = await gateway.http.post(path, content=b"hello")

    assert answer.status_code == status
    assert status == 503 or answer.json()["agent"] != first.name


async def test_a_refused_message_is_not_asked_again_and_costs_no_agent_its_place(gateway: Gateway) -> None:
    """What one agent refuses with 503 all refuse; nobody may be left alone for it."""
    for agent in gateway.agents:
        agent.refuses = True
    refused = [await gateway.http.post("/c/7/messages", content=b"hello") for _ in range(3)]
    for agent in gateway.agents:
        agent.refuses = False

    assert [(answer.status_code, answer.text) for answer in refused] == [(503, "busy")] * 3
    assert {await gateway.asked(f"/c/7/events?try={number}") for number in range(20)} == {"one", "two"}


async def test_a_stream_refused_by_an_agent_that_leaves_is_asked_of_the_next_one(gateway: Gateway) -> None:
    leaving = await gateway.agent_of("/c/7/events")
    leaving.refuses = True

    assert await gateway.asked("/c/7/events") != leaving.name


async def test_a_silent_agent_is_left_after_three_seconds(gateway: Gateway) -> None:
    silent = await gateway.agent_of("/c/7/x")
    silent.silent = True

    answer = await gateway.http.get("/c/7/events")

    assert answer.json()["agent"] != silent.name
    assert 2.5 < answer.elapsed.total_seconds() < 5


async def test_when_nobody_answers_a_page_says_so_and_the_api_says_it_in_json(gateway: Gateway) -> None:
    for agent in gateway.agents:
        await agent.runner.cleanup()

    for path in ("/", "/c/7/events", "/control"):
        page = await gateway.http.get(path)
        assert (page.status_code, page.headers["retry-after"]) == (503, "2")
        assert 'http-equiv="refresh"' in page.text
    api = await gateway.http.post("/api/v1/conversations/7/messages")
    assert api.headers["content-type"].startswith("application/problem+json")
    assert api.status_code == api.json()["status"] == 503


async def test_trace_ids_are_passed_on_and_addresses_cannot_be_forged(gateway: Gateway) -> None:
    sent = {"X-Request-ID": "trace-12345678", "X-Forwarded-For": "8.8.8.8"}

    own = await gateway.http.get("/c/7/x", headers=sent)
    made_up = await gateway.http.get("/c/7/x", headers={"X-Request-ID": "a b\tc"})

    assert own.headers["x-request-id"] == own.json()["headers"]["X-Request-ID"] == "trace-12345678"
    assert own.json()["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert len(made_up.headers["x-request-id"]) == 32


async def test_no_token_reaches_the_log(gateway: Gateway) -> None:
    await gateway.http.get("/login/tOkEn1")
    await gateway.http.get("/%6cogin/tOkEn2")
    await gateway.http.get("/c/7/x?token=tOkEn3")
    await gateway.http.post("/c/7/messages", content=b"x" * 4_000_000)

    async def logged() -> bool:  # nginx logs a refused body once it has drained it: after the answer
        lines = [json.loads(line) for line in gateway.log.splitlines() if line.startswith('{"time"')]
        return [(it["method"], it["path"]) for it in lines] == [("GET", "/c/7/x"), ("POST", "/c/7/messages")]

    await wait_until(logged, of="both lines of what may be logged, and no other")
    assert "tOkEn" not in gateway.log
