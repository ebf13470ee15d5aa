"""The control plane's first page: who is there, how each is, in words, live (Order 1, item 8)."""

import asyncio
import os
import signal

import httpx2

from appliance.core.records import Agent, Status
from control_plane.queries import state_of
from tests.client import Client
from tests.cluster import Cluster
from tests.waiting import wait_until

HTML = {"Accept": "text/html"}


def test_silence_speaks_louder_than_what_an_agent_said_of_itself() -> None:
    said = Agent(id="a", status=Status.ACTIVE, boot_alive=True, beat_age_s=0.2)
    late = Agent(id="a", status=Status.ACTIVE, boot_alive=True, beat_age_s=1.6)
    gone = Agent(id="a", status=Status.ACTIVE, boot_alive=False, beat_age_s=0.2)
    assert [state_of(agent, threshold=3) for agent in (said, late, gone)] == ["active", "suspected", "failed"]


async def test_the_overview_lists_every_agent_with_its_facts(client: Client) -> None:
    overview = (await client.http.get("/control/api/v1/overview")).json()
    assert [line["agent"]["id"] for line in overview["agents"]] == ["agent-1", "agent-2", "agent-3"]
    assert overview["primary_id"] in {"agent-1", "agent-2", "agent-3"}
    assert overview["away"] == []
    for line in overview["agents"]:
        assert line["state"] == "active"
        assert line["agent"]["models"] == ["fake-model"]


async def test_the_page_says_it_in_words_without_javascript(client: Client) -> None:
    page = (await client.http.get("/control", headers=HTML)).text
    for word in ("agent-1", "agent-3", "primary", "active", "fake-model", "0/20", "s ago"):
        assert word in page


async def test_a_stranger_is_led_to_the_login(cluster: Cluster) -> None:
    async with httpx2.AsyncClient(base_url=cluster.url) as http:
        assert (await http.get("/control", headers=HTML)).headers["location"] == "/login"
        assert (await http.get("/control/api/v1/overview")).status_code == 401


async def test_the_live_page_tells_of_a_frozen_agent_within_two_seconds(cluster: Cluster, client: Client) -> None:
    frozen = await cluster.agent("agent-2")

    async def said(word: str) -> None:
        async with client.http.stream("GET", "/control/live") as answer:
            row = ""
            async for line in answer.aiter_lines():
                row = line if "data-state" in line and "agent-2" in line else row
                if f'data-state="{word}"' in row:
                    return

    await asyncio.wait_for(said("active"), 10)
    os.kill(frozen.keeper_pid, signal.SIGSTOP)
    try:
        await asyncio.wait_for(said("suspected"), 6)
    finally:
        os.kill(frozen.keeper_pid, signal.SIGCONT)
    await cluster.until_active(3)


async def test_the_page_comes_back_when_the_control_plane_is_started_again(cluster: Cluster, client: Client) -> None:
    for process in cluster._others()[1:]:
        process.kill()
        process.wait()
    assert (await client.http.get("/control", headers=HTML)).status_code == 503
    await cluster.start_control_plane()

    async def served() -> bool:
        return (await client.http.get("/control", headers=HTML)).status_code == 200

    await wait_until(served, of="the page")


def test_who_left_on_purpose_is_not_called_failed() -> None:
    assert state_of(Agent(id="a", status=Status.DRAINING), threshold=3) == "left"
    assert state_of(Agent(id="a", status=Status.ACTIVE), threshold=3) == "failed"
