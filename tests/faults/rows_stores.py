"""Redis and PostgreSQL pause, die, lose data and come back; a store that is away must never look like a dead peer."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from tests.client import Client
from tests.faults.rows import Bound, row
from tests.faults.scene import Scene, send
from tests.faults.steady import acts_again, no_try_failed, same_primary, speaks_again, story, whole_again
from tests.waiting import wait_until

PAUSES_S = (1.0, 2.5, 5.0)
OUTAGES_S = (0.3, 3.0, 10.0)
POSTGRES_AWAY_S = 5.0
BUSY = 6
"""Open tabs where a cluster is to be busy."""


@row("F11", "Redis SIGSTOP 1 s, 2.5 s, 5 s", "no failover; words and the primary's authority are back < 1 s after",
     bounds={"words_s": Bound(max=1.0), "acts_s": Bound(max=1.0)}, elections=0)  # fmt: skip
async def f11(scene: Scene) -> None:
    stores, words, acts = scene.cluster.stores, [0.0], [0.0]
    async with same_primary(scene) as primary:
        chat = await scene.chat(primary, story(sum(PAUSES_S) + 3))
        for pause_s in PAUSES_S:
            await scene.any_moment()
            stores.signal("redis", signal.SIGSTOP)
            await asyncio.sleep(pause_s)
            stores.signal("redis", signal.SIGCONT)
            began = monotonic()
            for found, measured in ((words, speaks_again(chat, began)), (acts, acts_again(scene, began))):
                found.append(await measured)
        scene.measure(words_s=max(words), acts_s=max(acts))
        await chat.ended()
    await no_try_failed(scene)


@row("F12", "Redis SIGKILL, started again after 0.3 s, 3 s, 10 s (one a run)", "no failover; whole and drift 0 in 5 s",
     bounds={"whole_s": Bound(max=5.0)}, elections=0)  # fmt: skip
async def f12(scene: Scene) -> None:
    async with same_primary(scene) as primary:
        away_s = OUTAGES_S[scene.number % len(OUTAGES_S)]
        chats = await asyncio.gather(scene.chat(primary, story(away_s + 2)), scene.chat(await scene.secondary()))
        back = await redis_dies(scene, away_s)
        scene.measure(acts_s=await acts_again(scene, back), whole_s=await whole_again(scene, back))
        for chat in chats:
            await chat.ended()
    await no_try_failed(scene)


async def redis_dies(scene: Scene, away_s: float, befall: Callable[[Path], object] = lambda _: None) -> float:
    """SIGKILL Redis, do something to its data, start it again after `away_s`; return when it answered."""
    stores = scene.cluster.stores
    await scene.any_moment()
    stores.signal("redis", signal.SIGKILL)
    befall(stores.home.data / "redis")
    await asyncio.sleep(away_s)
    await stores.start_one("redis")
    return monotonic()


def log_of(data: Path) -> Path:
    """Return the file that Redis appends to."""
    return max((data / "appendonlydir").glob("*.incr.aof"))


@row("F13", "Redis SIGKILL; it is back with its file cut off in mid command, empty, or older than the last election",
     "epoch not lower; nothing lost or doubled; whole in 5 s", bounds={"whole_s": Bound(max=5.0)})  # fmt: skip
async def f13(scene: Scene) -> None:
    kind = ("cut", "empty", "older")[scene.number % 3]
    before = log_of(scene.cluster.stores.home.data / "redis").stat().st_size
    if kind == "older":
        lost = await scene.primary()
        await scene.new_primary(lost, await scene.kill(lost.keeper_pid, lost.runner_pid))
        scene.cluster.revive()
        await scene.cluster.until_active(len(scene.cluster.keepers()))

    def befall(data: Path) -> None:
        if kind == "empty":
            shutil.rmtree(data / "appendonlydir")
        else:
            os.truncate(log_of(data), before + 7)  # in the middle of a command

    async with same_primary(scene) as primary:
        epoch = await scene.epoch()
        chats = await asyncio.gather(*(scene.chat(it) for it in (primary, *await scene.secondaries())))
        back = await redis_dies(scene, scene.random.uniform(0.3, 1.0), befall)
        scene.measure(whole_s=await whole_again(scene, back))
        assert (await scene.cluster.view()).epoch == epoch == await scene.epoch()
        for chat in chats:
            await chat.ended()


@row("F14", "Redis and primary die together", "new primary < 5 s after Redis is back",
     bounds={"primary_s": Bound(max=5.0), "gap_s": Bound(p99=12.0)}, elections=1)  # fmt: skip
async def f14(scene: Scene) -> None:
    lost = await scene.primary()
    chat = await scene.chat(lost)
    back = await redis_dies(
        scene, scene.random.uniform(0.3, 3.0), lambda _: send(signal.SIGKILL, lost.keeper_pid, lost.runner_pid)
    )
    scene.measure(primary_s=await scene.new_primary(lost, back))
    scene.measure(gap_s=(await chat.ended()).gap_s)


async def postgres_dies(scene: Scene, away_s: float, gone: asyncio.Event | None = None) -> float:
    """End PostgreSQL without notice, as a crash would, and start it again; return when it answered."""
    stores = scene.cluster.stores
    await scene.any_moment()
    stores.signal("postgres", signal.SIGQUIT)
    await asyncio.to_thread(stores.processes["postgres"].wait)
    if gone is not None:
        gone.set()
    await asyncio.sleep(away_s)
    await stores.start_one("postgres")
    return monotonic()


@row("F16", f"PostgreSQL crashes and is back after {POSTGRES_AWAY_S:g} s",
     "503 with Retry-After meanwhile; no loss, no election; messages are accepted < 3 s after",
     bounds={"accepts_s": Bound(max=3.0)}, elections=0)  # fmt: skip
async def f16(scene: Scene) -> None:
    async with same_primary(scene) as primary:
        other = await scene.secondary()
        chats = await asyncio.gather(*(scene.chat(it) for it in (primary, other)))
        gone = asyncio.Event()
        dies = asyncio.create_task(postgres_dies(scene, POSTGRES_AWAY_S, gone))
        await gone.wait()
        said = {"text": "again [[tokens=3]]", "client_id": f"again {scene.number}"}
        answer = await post(scene, other, chats[0].asked.conversation, said)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
        back = await dies

        async def accepted() -> bool:
            return (await post(scene, other, chats[0].asked.conversation, said)).status_code == 202

        await wait_until(accepted, of="an accepted message")
        scene.measure(accepts_s=monotonic() - back)
        for chat in chats:
            await chat.ended()


async def post(scene: Scene, agent: Agent, conversation: str, said: dict[str, str]) -> httpx2.Response:
    """Send a message to one agent, past the gateway, which would ask the others and wait."""
    person = Client(f"http://{agent.host}:{agent.port}", scene.stage.token)
    try:
        return await person.http.post(f"/api/v1/conversations/{conversation}/messages", json=said)
    finally:
        await person.aclose()


@row("F17", "PostgreSQL and primary die together", "election right after PostgreSQL is back: < 3 s",
     bounds={"primary_s": Bound(max=3.0)}, elections=1)  # fmt: skip
async def f17(scene: Scene) -> None:
    lost = await scene.primary()
    chat = await scene.chat(lost)
    gone = asyncio.Event()
    dies = asyncio.create_task(postgres_dies(scene, scene.random.uniform(1.0, POSTGRES_AWAY_S), gone))
    await gone.wait()
    send(signal.SIGKILL, lost.keeper_pid, lost.runner_pid)
    back = await dies
    scene.measure(primary_s=await scene.new_primary(lost, back))
    scene.measure(gap_s=(await chat.ended()).gap_s)


async def redis_forgets(scene: Scene) -> float:
    """FLUSHALL; return when it was done."""
    redis = scene.cluster.redis.data
    await wait_until(redis.flushall, of="FLUSHALL")  # an idle connection may have died with an earlier Redis
    return monotonic()


@row("F35", f"FLUSHALL on a healthy cluster with {BUSY} open tabs", "no failover; work and tabs back < 10 s",
     bounds={"tabs_s": Bound(max=10.0), "whole_s": Bound(max=10.0)}, elections=0)  # fmt: skip
async def f35(scene: Scene) -> None:
    async with same_primary(scene):
        agents = [it for it in (await scene.cluster.view()).agents if it.boot_alive]
        owners = (agents * BUSY)[:BUSY]
        chats = await asyncio.gather(*(scene.chat(owner, story(4)) for owner in owners))
        await scene.any_moment()
        began = await redis_forgets(scene)
        tabs = await asyncio.gather(*(speaks_again(chat, began) for chat in chats))
        scene.measure(tabs_s=max(tabs), acts_s=await acts_again(scene, began), whole_s=await whole_again(scene, began))
        for chat in chats:
            await chat.ended()
