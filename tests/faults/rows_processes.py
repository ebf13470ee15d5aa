"""Agents whose processes die, hang, or are started twice."""

import asyncio
import signal

import httpx2

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from tests.client import Client
from tests.fakes.models import expected_text
from tests.faults.chat import Chat
from tests.faults.rows import Bound, row
from tests.faults.scene import LOOK_S, Scene, alive, send
from tests.waiting import wait_until

KILLED = {"primary_s": Bound(p50=0.3, p99=1.0), "gap_s": Bound(p99=3.0)}
HANG_S = 10.0


@row(
    "F1", "primary's runner SIGKILL", "its keeper releases the lease; new primary < 0.5 s; old slot back as secondary",
    bounds=KILLED | {"primary_s": Bound(p50=0.3, max=0.5)}, elections=1, often=True,
)  # fmt: skip
async def f1(scene: Scene) -> None:
    lost = await scene.primary()
    chat = await scene.chat(lost)
    began = await scene.kill(lost.runner_pid)
    scene.measure(primary_s=await scene.new_primary(lost, began))
    scene.measure(gap_s=(await chat.ended()).gap_s)

    async def back() -> bool:
        now = await scene.cluster.agent(lost.id)
        return now.boot != lost.boot and now.keeper_pid == lost.keeper_pid and now.role == "secondary"

    await wait_until(back, of="the old slot as a secondary")


@row(
    "KR", "primary's keeper and runner SIGKILLed together", "new primary < 1 s, typically 0.25 s; user gap < 3 s",
    bounds=KILLED, elections=1, often=True,
)  # fmt: skip
async def kr(scene: Scene) -> None:
    lost = await scene.primary()
    chat = await scene.chat(lost)
    began = await scene.kill(lost.keeper_pid, lost.runner_pid)
    scene.measure(primary_s=await scene.new_primary(lost, began))
    scene.measure(gap_s=(await chat.ended()).gap_s)


@row(
    "F3", "primary hangs: SIGSTOP of all, 10 s",
    "new primary < 3.7 s; after it goes on: it steps down, no stale commit, its streams are closed",
    bounds={"primary_s": Bound(max=3.7), "gap_s": Bound(p99=5.0), "steps_down_s": Bound(max=2.0)},
    elections=1, often=True,
)  # fmt: skip
async def f3(scene: Scene) -> None:
    lost = await scene.primary()
    chat = await scene.chat(lost)
    stream = asyncio.create_task(closed(scene, lost, chat))
    began = await scene.freeze(lost)
    scene.measure(primary_s=await scene.new_primary(lost, began))
    scene.measure(gap_s=(await chat.ended()).gap_s)
    await asyncio.sleep(began + HANG_S - monotonic())
    thawed = scene.thaw(lost)

    async def stepped_down() -> bool:
        now = await scene.cluster.agent(lost.id)
        return now.boot_alive and not now.is_primary

    await wait_until(stepped_down, of="the end of the old primary's reign")
    scene.measure(steps_down_s=monotonic() - thawed)
    await asyncio.wait_for(stream, 10)
    scene.measure(closes_streams_s=monotonic() - thawed)


async def closed(scene: Scene, agent: Agent, chat: Chat) -> None:
    """Return when `agent` has ended a stream that was open to it, past the gateway."""
    client = Client(f"http://{agent.host}:{agent.port}", scene.stage.token)
    try:
        async for _ in client.events(chat.asked.conversation):
            pass
    except httpx2.HTTPError:
        pass  # cut off is an end, too
    finally:
        await client.aclose()


@row(
    "F5", "primary's runner stopped 1 s, 2 s, 30 s; F5b: its event loop held by code",
    "1 and 2 s: nothing; 30 s: runner killed at 3 s, new primary < 3.5 s",
    bounds={"primary_s": Bound(max=3.5), "gap_s": Bound(p99=5.0)}, elections=1,
)  # fmt: skip
async def f5(scene: Scene) -> None:
    stalled = await scene.primary()
    for pause_s in (1.0, 2.0):
        began = await scene.kill(stalled.runner_pid, how=signal.SIGSTOP)
        await asyncio.sleep(began + pause_s - monotonic())
        send(signal.SIGCONT, stalled.runner_pid)
        await asyncio.sleep(1.0)  # what it could have set off would have begun
        assert (await scene.primary()).boot == stalled.boot, f"a stall of {pause_s} s cost the primary its seat"
    chat = await scene.chat(stalled)
    began = await scene.kill(stalled.runner_pid, how=signal.SIGSTOP)
    while alive(stalled.runner_pid) and monotonic() < began + 10:
        await asyncio.sleep(LOOK_S)
    scene.measure(runner_killed_s=monotonic() - began)
    scene.measure(primary_s=await scene.new_primary(stalled, began))
    scene.measure(gap_s=(await chat.ended()).gap_s)


@row(
    "F5b", "code holds the event loop of the primary's runner for 30 s, between an answer and its commit",
    "runner killed at 3 s, new primary < 3.5 s; the turn runs again",
    bounds={"primary_s": Bound(max=3.5)}, elections=2,
)  # fmt: skip
async def f5b(scene: Scene) -> None:
    await scene.hush()
    stalled = await scene.enthrone(await scene.arm(await scene.secondary(), "before_commit:block"))
    chat = await scene.chat(stalled, f"held {scene.number} [[tokens=20 delay=20ms]]")

    async def said_all() -> bool:
        return chat.shown == expected_text(chat.asked.text)

    await wait_until(said_all, of="the whole answer in the tab")
    began = monotonic()
    scene.measure(primary_s=await scene.new_primary(stalled, began))

    async def killed() -> bool:
        return not alive(stalled.runner_pid)

    await wait_until(killed, within_s=2, of="the end of the runner that does not move")
    assert (await chat.ended()).events[-1]["attempt"] == 2


@row(
    "F19", "two agents of three SIGKILLed, the primary one of them", "the sole survivor is primary < 5 s",
    bounds={"primary_s": Bound(max=5.0)}, elections=1,
)  # fmt: skip
async def f19(scene: Scene) -> None:
    lost, other = await scene.primary(), await scene.secondary()
    chat = await scene.chat(lost)
    began = await scene.kill(lost.keeper_pid, lost.runner_pid, other.keeper_pid, other.runner_pid)
    scene.measure(primary_s=await scene.new_primary(lost, began))
    scene.measure(gap_s=(await chat.ended()).gap_s)


@row(
    "F32", "an agent id started twice, the primary's", "refused by the boot rule; the healthy agent's work untouched",
    elections=0,
)  # fmt: skip
async def f32(scene: Scene) -> None:
    healthy = await scene.primary()
    chat = await scene.chat(healthy, "twin [[tokens=200 delay=25ms]]")
    process = await asyncio.create_subprocess_exec(
        *scene.cluster.command, env=scene.cluster.environment_of(healthy.id),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 1
    assert b"Another live process already runs under this agent id" in said, said[-300:]
    await chat.ended()
    assert chat.events[-1]["attempt"] == 1, "the healthy agent's turn was run again"
    assert (await scene.primary()).boot == healthy.boot


@row(
    "F34", "primary's keeper SIGKILLed alone", "its runner gone < 0.2 s; its turn runs again < 1 s",
    bounds={"runner_gone_s": Bound(max=0.2), "rerun_s": Bound(max=1.0), **KILLED}, elections=1,
)  # fmt: skip
async def f34(scene: Scene) -> None:
    lost = await scene.primary()
    chat = await scene.chat(lost)
    began = await scene.kill(lost.keeper_pid)
    while alive(lost.runner_pid) and monotonic() < began + 5:
        await asyncio.sleep(LOOK_S)
    scene.measure(runner_gone_s=monotonic() - began)
    scene.measure(primary_s=await scene.new_primary(lost, began))
    await chat.ended()
    scene.measure(rerun_s=chat.restarted_at - began, gap_s=chat.gap_s)
