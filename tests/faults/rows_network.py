"""One wire is cut, or all of them are bad, while every process is well. Both ways of a wire are cut unless said."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from tests.client import Client
from tests.faults.proxy import Proxy
from tests.faults.rows import Bound, row
from tests.faults.scene import LOOK_S, Scene
from tests.faults.steady import longer_in_full, same_primary, story
from tests.faults.wired import running_wired, wires
from tests.waiting import wait_until

three, two = partial(running_wired, 3), partial(running_wired, 2)
CUT_S = 6.0
"""Longer than it takes to bury a silent boot."""
TABS = 6
"""So many that surely one of them listens to the agent that is cut off."""
LOSS, REDIS_LOSS, JITTER_MS = 0.3, 0.05, 200
CUT_OFF = {"fenced_s": Bound(max=1.65), "primary_s": Bound(max=3.7), "gap_s": Bound(p99=5.0)}


@row("F6", "primary and Redis cut off from each other", "it fences itself <= 1.6 s, new primary < 3.7 s",
     bounds=CUT_OFF, elections=1, cluster=three)  # fmt: skip
async def f6(scene: Scene) -> None:
    await cut_off(scene, Proxy.drop)


@row("F9", "primary hears no reply of Redis; its requests arrive", "as F6; nothing is done twice",
     bounds=CUT_OFF, elections=1, cluster=three)  # fmt: skip
async def f9(scene: Scene) -> None:
    await cut_off(scene, Proxy.one_way)


async def cut_off(scene: Scene, how: Callable[[Proxy], Awaitable[None]]) -> None:
    """Cut the primary off from Redis until its tab has the whole answer."""
    lost = await scene.primary()
    wire = wires(scene).to_redis[lost.id]
    chats = await asyncio.gather(*(scene.chat(lost) for _ in range(TABS)))
    await scene.any_moment()
    began = monotonic()
    await how(wire)
    try:
        fenced_s, primary_s = await asyncio.gather(fences_itself(scene, lost, began), scene.new_primary(lost, began))
        scene.measure(fenced_s=fenced_s, primary_s=primary_s)
        scene.measure(gap_s=max([(await chat.ended()).gap_s for chat in chats]))
    finally:
        await wire.pass_on()


async def fences_itself(scene: Scene, lost: Agent, began: float) -> float:
    """Return how many seconds after `began` the agent no longer might act as primary, by its own page of memory."""
    while any(seat.agent == lost.id for seat in scene.stage.seats.taken()):
        assert monotonic() < began + 10, "it acts as primary without Redis"
        await asyncio.sleep(LOOK_S)
    return monotonic() - began


@asynccontextmanager
async def cut(*ways: Proxy, reset: bool = False) -> AsyncIterator[None]:
    """Cut ways between agents: in silence, or so that connections end and new ones are refused."""
    try:
        for way in ways:
            await (way.refuse() if reset else way.drop())
            if reset:
                await way.reset()
        yield
    finally:
        for way in ways:
            await way.pass_on()


async def part(scene: Scene, *, reset: bool) -> None:
    """Cut the primary off from one other agent while both beat in Redis."""
    async with same_primary(scene) as primary:
        other = await scene.secondary()
        chats = [await scene.chat(owner, story(CUT_S + 1)) for owner in (primary, other)]
        await scene.any_moment()
        async with cut(*wires(scene).between(primary.id, other.id), reset=reset):
            await asyncio.sleep(CUT_S)
            assert (await scene.cluster.agent(other.id)).boot == other.boot
        for chat in chats:
            assert (await chat.ended()).events[-1]["attempt"] == 1, "a healthy agent's turn was run again"


@row("F7", "primary and one voter cut off from each other: silence", "no failover, nothing released",
     elections=0, cluster=three)  # fmt: skip
async def f7(scene: Scene) -> None:
    await part(scene, reset=False)


@row("F7b", "primary and one voter cut off from each other: reset and refused; both still beat in Redis",
     "nothing released, no failover", elections=0, cluster=three)  # fmt: skip
async def f7b(scene: Scene) -> None:
    await part(scene, reset=True)


@row("F7c", "F7 and F7b with two agents in all", "nothing released, no failover", elections=0, cluster=two)
async def f7c(scene: Scene) -> None:
    await part(scene, reset=False)
    await part(scene, reset=True)


@row("F8", "one voter and Redis cut off from each other", "no failover, that agent alone is taken for dead",
     bounds={"gap_s": Bound(p99=5.0)}, elections=0, cluster=three)  # fmt: skip
async def f8(scene: Scene) -> None:
    async with same_primary(scene):
        lost, other = await scene.secondaries()
        chats = await asyncio.gather(*(scene.chat(owner) for owner in [lost] * TABS + [other]))
        wire = wires(scene).to_redis[lost.id]
        await scene.any_moment()
        await wire.drop()
        try:
            await asyncio.sleep(CUT_S)
            assert not (await scene.cluster.agent(lost.id)).boot_alive
            assert (await scene.cluster.agent(other.id)).boot == other.boot
        finally:
            await wire.pass_on()
        scene.measure(gap_s=max([(await chat.ended()).gap_s for chat in chats]))


@row("F10", f"{LOSS:.0%} loss and {JITTER_MS} ms jitter between agents, {REDIS_LOSS:.0%} loss between agents and Redis",
     "no failover for 15 s (60 s in runs that only RUNS=full has)", elections=0, cluster=three)  # fmt: skip
async def f10(scene: Scene) -> None:
    cluster = wires(scene)
    async with same_primary(scene) as primary:
        chat = await scene.chat(primary, story(15))
        try:
            for link in cluster.links.values():
                await link.lose(LOSS, JITTER_MS)
            for wire in cluster.to_redis.values():
                await wire.lose(REDIS_LOSS)
            await asyncio.sleep(longer_in_full(scene))
            await chat.ended()
        finally:
            for proxy in (*cluster.links.values(), *cluster.to_redis.values()):
                await proxy.pass_on()


@row("F31", "pub/sub messages all lost, then the primary SIGKILLed, and a turn stopped by its user",
     "everything converges by polling <= 2 s",
     bounds={"primary_s": Bound(max=2.0), "gap_s": Bound(p99=3.0), "stops_s": Bound(max=2.0)},
     elections=1, cluster=three)  # fmt: skip
async def f31(scene: Scene) -> None:
    rules = wires(scene).replies.values()
    try:
        for rule in rules:
            rule.drop_messages = True
        lost, worker = await scene.primary(), await scene.secondary()
        chat, stopped = await scene.chat(lost), await scene.chat(worker, story(15))
        began = await scene.kill(lost.keeper_pid, lost.runner_pid)
        scene.measure(primary_s=await scene.new_primary(lost, began))
        scene.measure(gap_s=(await chat.ended()).gap_s)
        scene.measure(stops_s=await stop(scene, stopped.asked.conversation, stopped.asked.turn, worker))
    finally:
        for rule in rules:
            rule.drop_messages = False


async def stop(scene: Scene, conversation: str, turn: str, owner: Agent) -> float:
    """Stop a turn at another agent than the one that runs it; return the seconds until its row has ended."""
    view = await scene.cluster.view()
    edge = next(it for it in view.agents if it.boot_alive and it.id != owner.id)
    person = Client(f"http://{edge.host}:{edge.port}", scene.stage.token)
    began = monotonic()
    try:
        await person.http.post(f"/api/v1/conversations/{conversation}/turns/{turn}/cancel")
    finally:
        await person.aclose()

    async def ended() -> bool:
        found = await scene.cluster.postgres.row("turn", task=turn)
        return found is not None and found["state"] == "cancelled"

    await wait_until(ended, of="the end of a stopped turn")
    return monotonic() - began
