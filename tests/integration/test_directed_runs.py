"""Directed work on real runners: run by who can and by nobody else, also when that one dies; preferences; plans."""

import signal
from collections.abc import AsyncIterator

import pytest

from appliance.core.needs import of_agent
from appliance.core.records import TaskState
from appliance.core.task_batches import Wanted
from tests.boards import Boarded, boarded
from tests.client import Client
from tests.fakes.models import FakeProvider
from tests.multi import answered, children_of
from tests.runners import Runners
from tests.stores import Stores
from tests.waiting import wait_until

ABLE = "agent-3"


@pytest.fixture(scope="module")
async def three(stores: Stores, provider: FakeProvider) -> AsyncIterator[Boarded[Runners]]:
    """Three runners with four slots each; the third one has a GPU."""
    async with boarded(stores, provider, 2, slots=4) as made:
        made.cluster.start_agent(ABLE, CLUSTER_CAPABILITIES="gpu")
        await made.cluster.until_active(3)
        yield made


def wanted(count: int, *needs: str, seconds: float = 0.05, prefers: bool = False) -> list[Wanted]:
    return [Wanted("where", {"seconds": seconds}, needs=needs, prefers=prefers) for _ in range(count)]


async def places(three: Boarded[Runners], ids: tuple[str, ...]) -> set[str]:
    """Return the agents that did these tasks."""
    found = await three.results(ids)
    assert {it.state for it in found} == {TaskState.DONE}
    agents = {agent.runner_pid: agent.id for agent in (await three.cluster.view()).agents}
    return {agents[it.result["pid"]] for it in found if it.result}


async def test_only_an_agent_that_can_runs_directed_work_also_behind_other_work(three: Boarded[Runners]) -> None:
    others = await three.publish("where", 60, seconds=0.05)
    directed = await three.publish_all("bob", wanted(12, "gpu"))
    assert await places(three, directed) == {ABLE}
    assert len(await places(three, others)) > 1


async def test_every_agent_has_a_capability_of_its_own(three: Boarded[Runners]) -> None:
    for agent in ("agent-1", "agent-2"):
        assert await places(three, await three.publish_all("ada", wanted(6, of_agent(agent)))) == {agent}


async def test_what_a_dead_agent_alone_could_do_waits_for_it_and_nothing_else_does(three: Boarded[Runners]) -> None:
    """F24n."""
    directed = await three.publish_all("ada", wanted(8, "gpu", seconds=1.0))

    async def some_run() -> bool:
        async with three.cluster.sql() as sql:
            query = "select count(*) as n from tasks where state = 'running' and id = any(%s)"
            row = await (await sql.execute(query, [list(directed)])).fetchone()
        return row is not None and row["n"] == 4

    await wait_until(some_run, of="four tasks on the agent with the GPU")
    await three.cluster.kill(ABLE, signal.SIGKILL)
    assert await places(three, await three.publish("where", 20)) == {"agent-1", "agent-2"}
    assert not await three.batches.ended(directed)
    await three.cluster.restart(ABLE, CLUSTER_CAPABILITIES="gpu")
    assert await places(three, directed) == {ABLE}
    attempts = sorted(it.result["attempt"] for it in await three.results(directed) if it.result)
    assert attempts == [1] * 4 + [2] * 4


async def test_a_preference_nobody_can_serve_holds_nothing_up(three: Boarded[Runners]) -> None:
    assert await places(three, await three.publish_all("ada", wanted(3, "quantum", prefers=True)))
    assert await places(three, await three.publish_all("ada", wanted(3, "gpu", prefers=True))) == {ABLE}


async def test_a_sub_agent_runs_where_its_plan_says(three: Boarded[Runners]) -> None:
    _, token = await three.cluster.sign_in()
    person = Client(three.cluster.url, token)
    _, events = await answered(
        person, "/multi Go\n- builder (needs gpu): Do it [[tokens=2]]\n- custom: Say [[tokens=2]]"
    )
    await person.aclose()
    assert children_of(events)["builder"]["agent"] == ABLE
