"""What the programs of a running cluster tell Prometheus, and nobody else."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest

from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from control_plane.measured import Measured
from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster
from tests.fakes.embedder import FakeEmbedder, Mode
from tests.stores import Stores
from tests.waiting import wait_until


async def said(port: int) -> dict[str, float]:
    """Return a program's samples."""
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    return samples(answer.text.encode())


def samples(text: bytes) -> dict[str, float]:
    """Read Prometheus' text."""
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_exactly_one_agent_says_that_it_is_primary(cluster: Cluster) -> None:
    view = await cluster.view()
    leads = {agent.id: (await said(agent.port))["nexus_agent_is_primary"] for agent in view.agents}
    assert {agent for agent, value in leads.items() if value} == {view.primary_id}


async def test_a_turn_is_counted_where_it_ran(cluster: Cluster, client: Client) -> None:
    async def ended() -> float:
        return sum(
            [(await said(agent.port))['nexus_turns_total{state="done"}'] for agent in (await cluster.view()).agents]
        )

    before = await ended()
    conversation = await client.create()
    accepted = await client.send(conversation, "hello [[tokens=3]]")
    await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    assert await ended() == before + 1


async def test_requests_are_counted_by_route_never_by_path(cluster: Cluster, client: Client) -> None:
    conversation = await client.create()
    await client.transcript(conversation)
    names = [name for agent in (await cluster.view()).agents for name in await said(agent.port)]
    routes = [name for name in names if name.startswith("nexus_http_request_seconds_count")]
    assert any('route="/api/v1/conversations/{conversation}"' in name for name in routes)
    assert not [name for name in names if conversation in name]


async def test_the_control_plane_says_how_the_stores_fare(cluster: Cluster) -> None:
    found = await said(cluster.control_port)
    assert found["nexus_redis_up"] == found["nexus_postgresql_up"] == 1
    assert found["nexus_redis_memory_bytes"] > 0
    assert found["nexus_postgresql_size_bytes"] > 0
    assert found['nexus_cluster_agents_total{status="active"}'] >= 3
    assert found["nexus_cluster_epoch"] >= 1
    assert found["nexus_embedder_up"] == 1


@pytest.fixture
async def measured() -> AsyncIterator[tuple[Stores, Measured]]:
    """What the control plane reads, on stores of its own that may be hurt."""
    own = Stores()
    try:
        await own.start()
        redis, postgres = Redis(own.settings("control")), Postgres(own.settings(), application="measured")
        await postgres.open()
        yield own, Measured(redis, postgres, own.settings())
        await postgres.aclose()
        await redis.aclose()
    finally:
        await asyncio.to_thread(own.close)


async def test_a_frozen_redis_is_down_and_postgresql_is_still_measured(measured: tuple[Stores, Measured]) -> None:
    stores, reads = measured
    assert samples(await reads.text())["nexus_redis_up"] == 1
    stores.signal("redis", signal.SIGSTOP)
    found = samples(await reads.text())
    assert (found["nexus_redis_up"], found["nexus_postgresql_up"], found["nexus_tasks_dead"]) == (0, 1, 0)
    assert "nexus_redis_keys" not in found
    stores.signal("redis", signal.SIGCONT)

    async def back() -> bool:
        return samples(await reads.text())["nexus_redis_up"] == 1

    await wait_until(back, of="Redis measured again")


async def test_without_postgresql_redis_is_still_measured(measured: tuple[Stores, Measured]) -> None:
    stores, reads = measured
    stores.signal("postgres", signal.SIGINT)
    await asyncio.to_thread(stores.processes["postgres"].wait)
    found = samples(await reads.text())
    assert (found["nexus_redis_up"], found["nexus_postgresql_up"]) == (1, 0)
    assert "nexus_tasks_dead" not in found


async def test_an_embedder_that_hangs_refuses_or_is_gone_is_down(stores: Stores, embedder: FakeEmbedder) -> None:
    config = stores.settings(embedding_url=embedder.url)
    redis, postgres = Redis(config), Postgres(config, application="measured")
    await postgres.open()
    reads = Measured(redis, postgres, config)

    async def seen() -> float:
        return samples(await reads.text())["nexus_embedder_up"]

    assert await seen() == 1
    modes: list[Mode] = ["hang", "status 500"]
    for embedder.mode in modes:
        assert await seen() == 0
    embedder.mode = "status 401"
    assert await seen() == 1, "it is there; whether it takes our key is seen by who asks"
    await embedder.stop()
    assert await seen() == 0
    await embedder.reset()
    assert await seen() == 1
    assert "nexus_embedder_up" not in samples(await Measured(redis, postgres, stores.settings()).text())
    await reads.aclose()
    await postgres.aclose()
    await redis.aclose()


async def test_the_gateway_counts_what_people_got(cluster: Cluster, client: Client) -> None:
    name = 'nexus_gateway_requests_total{status="404"}'
    before = (await said(cluster.gateway_metrics_port)).get(name, 0.0)
    await client.http.get("/no-such-page")

    async def counted() -> bool:
        return (await said(cluster.gateway_metrics_port)).get(name, 0.0) > before

    await wait_until(counted, of="one more 404")
    assert (await said(cluster.gateway_metrics_port))["nexus_gateway_up"] == 1


async def test_prometheus_is_told_every_agent_of_the_registry(cluster: Cluster) -> None:
    async with httpx2.AsyncClient() as http:
        found = (await http.get(f"http://127.0.0.1:{cluster.control_port}/sd")).json()
    listed = {it["labels"]["agent"]: it["targets"] for it in found}
    assert {agent.id: [f"{agent.host}:{agent.port}"] for agent in (await cluster.view()).agents} == listed


@pytest.mark.parametrize("path", ["/metrics", "/sd", "/control/metrics", "/control/sd", "//metrics", "/metrics/"])
async def test_nothing_of_it_is_for_the_public(cluster: Cluster, client: Client, path: str) -> None:
    answer = await client.http.get(path)
    assert answer.status_code in (404, 303)
    assert "nexus_" not in answer.text
    assert "targets" not in answer.text
