"""A task that kills or hangs its runner is dead at its third victim, and takes nobody with it (PROTOCOLS 7.6, F25)."""

import os
import signal
from collections.abc import AsyncIterator
from functools import partial

import httpx2
import pytest

from agent_image.keeper.brake import DEATHS
from appliance.core.records import Agent, TaskState
from appliance.core.task_batches import Wanted
from tests.boards import KINDS, Boarded, board_of, boarded
from tests.cluster import Cluster, running_cluster
from tests.fakes.models import FakeProvider
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until

SLOTS = 20


@pytest.fixture(scope="module")
async def two() -> AsyncIterator[Boarded[Cluster]]:
    """Two whole agents, whose keepers see their runners die."""
    settings = {"TASK_MODULES": KINDS, "CLUSTER_MAX_TASKS": str(SLOTS)}
    async with running_cluster(2, **settings) as cluster, board_of(cluster, SLOTS, 2) as made:
        yield made


async def crashes_of(two: Boarded[Cluster], ids: tuple[str, ...]) -> list[int]:
    async with two.cluster.sql() as sql:
        query = "select crash_count from tasks where id = any(%s)"
        return [row["crash_count"] for row in await (await sql.execute(query, [list(ids)])).fetchall()]


@pytest.mark.timeout(150)
async def test_a_task_that_kills_its_runner_is_dead_at_the_third_and_its_neighbours_are_not(
    two: Boarded[Cluster],
) -> None:
    innocents = [Wanted("sleep", {"seconds": 1.5}) for _ in range(20)]
    ids = await two.publish_all("ada", [Wanted("poison", {"after": 0.3}), *innocents])
    culprit, *others = await two.results(ids, within_s=120)
    assert (culprit.state, culprit.reason) == (TaskState.DEAD, "The agent that ran it died three times.")
    assert {it.state for it in others} == {TaskState.DONE}
    assert await crashes_of(two, ids[:1]) == [3]
    assert max(await crashes_of(two, ids[1:])) <= 2


@pytest.mark.timeout(150)
async def test_a_task_that_hangs_its_runner_is_no_better(two: Boarded[Cluster]) -> None:
    innocents = [Wanted("sleep", {"seconds": 1}) for _ in range(4)]
    ids = await two.publish_all("ada", [Wanted("hang", {"seconds": 60}), *innocents])
    culprit, *others = await two.results(ids, within_s=120)
    assert culprit.state is TaskState.DEAD
    assert {it.state for it in others} == {TaskState.DONE}


async def test_a_runner_shows_that_its_loop_turns_before_it_takes_the_first_task(
    stores: Stores, provider: FakeProvider
) -> None:
    """From then on its keeper judges it: a task that hangs the next runner as soon as it starts must not be spared."""
    async with boarded(stores, provider, 1) as made:
        await made.cluster.kill("agent-1")
        for agent in ("agent-2", "agent-3", "agent-4"):
            ids = await made.publish("hang", seconds=2.0)
            made.cluster.start_agent(agent)
            await wait_until(partial(_runs, made, ids[0]), of="a task that hangs")
            assert made.cluster.pages[agent].loop_tick
            await made.results(ids)
            await made.cluster.kill(agent)


async def _runs(made: Boarded[Runners], id_: str) -> bool:
    query = "select owner_boot from tasks where id = %s"
    async with made.cluster.sql() as sql:
        row = await (await sql.execute(query, [id_])).fetchone()
    return row is not None and row["owner_boot"] is not None


async def _killed(cluster: Cluster, agent: str) -> Agent | None:
    """SIGKILL a runner; None when the registry still names one that ended with the test before."""
    named = await cluster.agent(agent)
    try:
        os.kill(named.runner_pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return named


async def runner_dies(cluster: Cluster, agent: str) -> None:
    """SIGKILL a runner; return when the next one serves."""
    before = await wait_until(lambda: _killed(cluster, agent), of="a runner that lives")

    async def replaced() -> bool:
        now = await cluster.agent(agent)
        return now.boot != before.boot and now.status == "active"

    await wait_until(replaced, of="the next runner")


async def test_three_deaths_within_a_minute_brake_that_agent(two: Boarded[Cluster]) -> None:
    """Whoever dies there: its keeper counts, and says so to the next runner."""
    for _ in range(DEATHS):
        await two.cluster.until_active(2)
        await runner_dies(two.cluster, "agent-2")
    agent = await two.cluster.agent("agent-2")
    async with httpx2.AsyncClient() as client:
        text = (await client.get(f"http://{agent.host}:{agent.port}/metrics")).text
    assert "\nnexus_tasks_braked 1.0" in text
    found = await two.results(await two.publish("where", 8))
    assert agent.runner_pid not in {it.result["pid"] for it in found if it.result}


async def test_an_agent_that_is_killed_whole_accuses_nobody(two: Boarded[Cluster]) -> None:
    ids = await two.publish("sleep", 4, seconds=2)

    await two.cluster.until_active(2)
    for agent in ("agent-1", "agent-2"):
        await two.cluster.kill(agent)
        two.cluster.start_agent(agent)
    found = await two.results(ids)
    assert {it.state for it in found} == {TaskState.DONE}
    assert set(await crashes_of(two, ids)) == {0}
