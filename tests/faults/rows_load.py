"""Agents that leave on purpose while they work, and a machine with too much to do."""

import asyncio
import sys
from functools import partial

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from tests.cluster import running_cluster
from tests.faults.chat import Chat
from tests.faults.rows import Bound, row
from tests.faults.scene import LOOK_S, Scene
from tests.faults.steady import longer_in_full, same_primary, story
from tests.waiting import wait_until

TURNS = 20
BURNERS = 8
"""Four times the work that two cores can do."""
leaving = partial(running_cluster, 3, CLUSTER_DRAIN_TIMEOUT="4", CLUSTER_MAX_LOAD=str(TURNS + 5))
"""Turns of up to four seconds end where they are, longer ones are handed back."""


@row("F26", f"primary drained by SIGTERM with {TURNS} running turns and open tabs",
     "0 lost, 0 counted as failed; nobody holds the lease for < 0.1 s",
     bounds={"vacant_s": Bound(p50=0.1), "history_s": Bound(max=0.1), "gap_s": Bound(p99=3.0)},
     elections=1, draining=True, cluster=leaving)  # fmt: skip
async def f26(scene: Scene) -> None:
    drained = await scene.primary()
    stories = [f"turn {number} [[tokens={15 + 2 * number} delay=100ms]]" for number in range(TURNS)]
    chats = await asyncio.gather(*(scene.chat(drained, story) for story in stories))
    await scene.any_moment()
    vacant = asyncio.create_task(vacancy(scene, drained))
    assert await scene.cluster.terminate(drained.id) == 0
    scene.measure(vacant_s=await vacant, history_s=await as_history_says(scene))
    scene.measure(gap_s=await longest_gap(chats))


async def vacancy(scene: Scene, before: Agent) -> float:
    """Return for how many seconds nobody held the lease between two epochs, at most."""
    held = monotonic()
    while True:
        asked = monotonic()
        lease = (await scene.cluster.view()).lease
        if lease is not None and lease.epoch > before.config_epoch:
            return monotonic() - held
        held = asked if lease is not None else held
        await asyncio.sleep(LOOK_S)


async def as_history_says(scene: Scene) -> float:
    """Return how many seconds the last change of the primary took by its own row, which must be a switchover's."""
    async with scene.cluster.sql() as sql:

        async def served() -> dict[str, float] | None:
            last = await (await sql.execute("select * from failovers order by epoch desc limit 1")).fetchone()
            return last if last and last["served_at"] else None

        last = await wait_until(served, of="a complete row of history")
    assert last["kind"] == "switchover", last["kind"]
    return float(last["agree_ms"] + last["elect_ms"] + last["promote_ms"]) / 1000


async def longest_gap(chats: list[Chat]) -> float:
    """Wait for the ends of all answers; return the longest time in which a tab was shown nothing."""
    return max([(await chat.ended()).gap_s for chat in chats])


@row("F27", "rolling restart of all agents, one after the other, under load",
     "no message unaccepted, no failed turn, at most one epoch an agent",
     bounds={"gap_s": Bound(p99=3.0)}, draining=True, cluster=leaving)  # fmt: skip
async def f27(scene: Scene) -> None:
    before, agents = (
        await scene.epoch(),
        sorted((await scene.cluster.view()).agents, key=lambda it: scene.random.random()),
    )
    chats: list[Chat] = []
    for agent in agents:
        others = [it for it in (await scene.cluster.view()).agents if it.id != agent.id]
        chats += await asyncio.gather(*(scene.chat(owner, story(6)) for owner in (agent, agent, *others)))
        assert await scene.cluster.terminate(agent.id) == 0
        scene.cluster.start_agent(agent.id)
        await serves_again(scene, agent)
    scene.measure(gap_s=await longest_gap(chats))
    assert not scene.crowd.unanswered, f"{scene.crowd.unanswered} messages were not accepted"
    assert await scene.epoch() - before <= len(agents)


async def serves_again(scene: Scene, before: Agent) -> None:
    """Wait until an agent that was started again works and may follow."""

    async def serves() -> bool:
        now = await scene.cluster.agent(before.id)
        return now.boot != before.boot and now.boot_alive and now.electable and now.can_vote

    await wait_until(serves, of=f"{before.id} at work again")


@row("F29", f"CPU four times oversubscribed: {BURNERS} busy processes beside the cluster (out of memory = F1, KR)",
     "no failover for 15 s (60 s in runs that only RUNS=full has)", elections=0, alone=True)  # fmt: skip
async def f29(scene: Scene) -> None:
    async with same_primary(scene) as primary:
        chats = await asyncio.gather(*(scene.chat(it) for it in (primary, await scene.secondary())))
        burners = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(BURNERS)
        ]
        try:
            await asyncio.sleep(longer_in_full(scene))
        finally:
            for burner in burners:
                burner.kill()
                await burner.wait()
        await longest_gap(chats)
