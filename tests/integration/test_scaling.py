"""Scaling under running conversations, through the JSON API: nobody notices (the customer's card, part 4)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from tests.client import Client
from tests.cluster import Cluster, running_cluster
from tests.integration.test_rolling_restart import talk
from tests.steered import steered
from tests.waiting import wait_until

PEOPLE = 12
FLEET = "/control/api/v1/fleet"


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Two agents of their own, steered by their control plane."""
    async with running_cluster(2, CLUSTER_DRAIN_TIMEOUT="1") as running, steered(running, 2):
        yield running


async def wish(client: Client, number: Any, **headers: str) -> Any:
    return await client.http.post(FLEET, json={"number": number}, headers=headers)


async def settled(cluster: Cluster, client: Client, agents: int) -> None:
    """Wait until that many agents serve and the gateway lists exactly them."""

    async def served() -> bool:
        state = (await client.http.get(FLEET)).json()
        return bool(state["settled"] and state["desired"]["slots"] == [*range(1, agents + 1)])

    async def listed() -> bool:
        return cluster.listed().count("server ") == agents

    await wait_until(served, within_s=60, of=f"{agents} agents")
    await wait_until(listed, of=f"{agents} upstreams")


@pytest.mark.timeout(240)
async def test_scaling_up_and_down_under_conversations_costs_no_turn(cluster: Cluster, client: Client) -> None:
    over = asyncio.Event()
    people = [asyncio.create_task(talk(client, number, over)) for number in range(PEOPLE)]
    for number in (4, 2):
        assert (await wish(client, number)).status_code == 202
        await settled(cluster, client, number)
    over.set()
    assert all(turns > 0 for turns in await asyncio.gather(*people))
    assert [agent.id for agent in (await cluster.view()).agents if agent.boot_alive] == ["agent-1", "agent-2"]


async def test_a_wish_sent_twice_with_its_key_counts_once(cluster: Cluster, client: Client) -> None:
    key = str(uuid4())
    first = await wish(client, 3, **{"Idempotency-Key": key})
    await settled(cluster, client, 3)
    assert (await wish(client, 2)).status_code == 202
    again = await wish(client, 3, **{"Idempotency-Key": key})
    assert (again.status_code, again.json()) == (202, first.json())
    await settled(cluster, client, 2)
    other = await wish(client, 2, **{"Idempotency-Key": key})
    assert (other.status_code, "belongs to another request" in other.json()["detail"]) == (409, True)
    wrong = await wish(client, 2, **{"Idempotency-Key": "mine"})
    assert (wrong.status_code, "has to be a UUID" in wrong.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("number", "why"),
    [(-1, "at least one"), (0, "at least one"), (10_000, "more than the 50"), ("four", "not a whole number")],
)
async def test_a_number_that_cannot_be_is_refused_with_what_may(client: Client, number: Any, why: str) -> None:
    for answer in (await wish(client, number), await client.http.get(f"{FLEET}/preview", params={"number": number})):
        assert answer.status_code == 400
        assert why in answer.json()["detail"]


async def test_a_preview_changes_nothing(cluster: Cluster, client: Client) -> None:
    answer = (await client.http.get(f"{FLEET}/preview", params={"number": 4})).json()
    assert answer["sentence"] == "2 → 4: starts agent-3, agent-4."
    assert (await client.http.get(FLEET)).json()["desired"]["slots"] == [1, 2]


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_a_role_that_may_not_is_told_what_it_needs(cluster: Cluster, role: str) -> None:
    _, token = await cluster.sign_in(f"the {role}", role)
    person = Client(cluster.url, token)
    try:
        asked = {"viewer": ("/agents/agent-1/drain", "operator"), "operator": ("/agents/agent-1/kill", "admin")}[role]
        answer = await person.http.post(f"/control/api/v1{asked[0]}")
        assert answer.status_code == 403
        assert f"needs the role {asked[1]}" in answer.json()["detail"]
        assert (await person.http.get(FLEET)).status_code == 200
        if role == "viewer":
            assert (await wish(person, 3)).status_code == 403
            assert await kept(cluster, "the viewer") == [
                ("web: refused", "POST /control/api/v1/agents/agent-1/drain"),
                ("web: refused", "POST /control/api/v1/fleet"),
            ]
    finally:
        await person.aclose()


async def kept(cluster: Cluster, actor: str) -> list[tuple[str, str]]:
    """Return what the audit log holds of somebody."""
    async with cluster.sql() as sql:
        rows = await sql.execute("select action, subject from audit_log where actor = %s order by id", [actor])
        return [(row["action"], row["subject"]) for row in await rows.fetchall()]


async def test_a_drained_agent_rests_until_it_is_restarted(cluster: Cluster, client: Client) -> None:
    order = (await client.http.post("/control/api/v1/agents/agent-2/drain", params={"deadline_s": 1})).json()
    assert order["agent_id"] == "agent-2"

    async def rests() -> bool:
        state = (await client.http.get(FLEET)).json()
        words = {it["agent_id"]: it["words"] for it in state["agents"]}
        return bool(state["settled"] and words == {"agent-1": "serves", "agent-2": "rests"})

    await wait_until(rests, of="agent-2 at rest")
    refused = await client.http.post("/control/api/v1/agents/agent-1/drain")
    assert (refused.status_code, "last active agent" in refused.json()["detail"]) == (409, True)
    answer = await client.http.post("/control/api/v1/agents/agent-2/restart")
    assert answer.json() == {"outcome": "agent-2 restarted"}
    await settled(cluster, client, 2)
