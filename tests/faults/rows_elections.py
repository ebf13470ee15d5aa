"""Candidates that die, race or are made up, and writers that hold the fence."""

import asyncio
import signal
import sys
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from structlog.testing import capture_logs

from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.errors import NexusError, StaleEpoch, StoreDenies
from appliance.core.postgres import Postgres
from appliance.core.records import Agent
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import LEASE_S
from tests.faults.rows import Bound, Play, row
from tests.faults.scene import LOOK_S, Scene, alive, send, state
from tests.faults.stopped_writer import REFUSED

ROUNDS, CANDIDATES = 25, 6
TRIES = 5


@row(
    "F4", "a writer stopped between its fence and its commit, then the primary killed",
    "the bump waits <= 0.5 s, the session is ended, the commit fails",
    bounds={"bump_s": Bound(max=0.6), "primary_s": Bound(max=1.5)}, elections=1,
)  # fmt: skip
async def f4(scene: Scene) -> None:
    lost, epoch = await scene.primary(), await scene.epoch()
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.stopped_writer", str(epoch), env=scene.cluster.environment_of("writer"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        assert await writer.stdout.readline() == b"ready\n"
        writer.stdin.write(b"go\n")
        assert await writer.stdout.readline() == b"held\n"
        while state(writer.pid) != "T":
            await asyncio.sleep(LOOK_S)
        began = send(signal.SIGKILL, lost.keeper_pid, lost.runner_pid)  # at once: the fence holds for 0.5 s at most
        scene.measure(primary_s=await scene.new_primary(lost, began))
    finally:
        send(signal.SIGCONT, writer.pid)
        code = await writer.wait()
    assert code == REFUSED, f"the stopped writer ended with {code}: it committed"
    async with scene.cluster.sql() as sql:
        done = await sql.execute("select elect_ms from failovers where epoch = %s", [epoch + 1])
        found = await done.fetchone()
    assert found is not None
    scene.measure(bump_s=found["elect_ms"] / 1000)


async def falls(scene: Scene, armed: Agent, rival: Agent) -> bool:
    """Wait until the armed candidate is dead; False when its rival was elected instead."""
    while alive(armed.keeper_pid):
        with suppress(NexusError):
            rival_leads = (await scene.cluster.view()).primary_id == rival.id
            if rival_leads and alive(armed.keeper_pid):
                return False
        await asyncio.sleep(LOOK_S)
    return True


def dies(point: str, born: int, fewest: int = 0) -> Play:
    """Return the play of a candidate that dies at `point`; so many epochs are born in all, or down to `fewest`."""

    async def play(scene: Scene) -> None:
        # A standby is first in rank, so it is the one that stands; on a busy machine another may be quicker.
        armed = await scene.arm(await scene.secondary(), f"{point}:kill", CLUSTER_ROLE="standby")
        for _ in range(TRIES):
            lost, epoch = await scene.primary(), await scene.epoch()
            next_one = next(it for it in await scene.secondaries() if it.id != armed.id)
            chat = await scene.chat(lost)
            await scene.kill(lost.keeper_pid, lost.runner_pid)
            if await falls(scene, armed, next_one):
                died = monotonic()
                scene.measure(next_one_s=await scene.seated(next_one, died))
                scene.measure(gap_s=(await chat.ended()).gap_s)
                assert (fewest or born) <= await scene.epoch() - epoch <= born
                return
            scene.cluster.revive()
            await scene.cluster.until_active(len(scene.cluster.keepers()))
        raise AssertionError(f"{armed.id} was never the one that stood")

    return play


for letter, point, born in (("a", "before_cas", 1), ("b", "after_cas", 2), ("c", "after_install", 2)):
    row(
        f"F18{letter}", f"the candidate dies at {point}",
        "the next one takes over within one lease of its death; epochs strictly rising",
        bounds={"next_one_s": Bound(max=LEASE_S)},
    )(dies(point, born))  # fmt: skip

row(
    "F18d", "an agent dies at in_release, while it hands on what the dead primary ran",
    "the others do it; the next primary within one lease of its death", bounds={"next_one_s": Bound(max=LEASE_S)},
)(dies("in_release", 2, fewest=1))  # fmt: skip


@row(
    "F18e", "a primary dies at after_release, its successor named but not told by it",
    "the successor is primary within one lease", bounds={"next_one_s": Bound(max=LEASE_S)}, elections=2,
)  # fmt: skip
async def f18e(scene: Scene) -> None:
    leaving = await scene.enthrone(await scene.arm(await scene.secondary(), "after_release:kill"))
    chat = await scene.chat(leaving)
    send(signal.SIGTERM, leaving.keeper_pid)
    while alive(leaving.keeper_pid):
        await asyncio.sleep(LOOK_S)
    scene.measure(next_one_s=await scene.new_primary(leaving, monotonic()))
    await chat.ended()


@row(
    "F18f", "an agent dies at mid_drain, with a turn that was to end", "its turn runs again < 1 s; no election",
    bounds={"rerun_s": Bound(max=1.0)}, elections=0,
)  # fmt: skip
async def f18f(scene: Scene) -> None:
    leaving = await scene.arm(await scene.secondary(), "mid_drain:kill")
    chat = await scene.chat(leaving)
    send(signal.SIGTERM, leaving.keeper_pid)
    while alive(leaving.keeper_pid):
        await asyncio.sleep(LOOK_S)
    died = monotonic()
    await chat.ended()
    scene.measure(rerun_s=chat.restarted_at - died)


@row(
    "F20", f"simultaneous candidates: two on the living cluster, then {ROUNDS} times {CANDIDATES}, no stagger",
    "one wins the compare-and-set, the others get nothing", elections=1,
)  # fmt: skip
async def f20(scene: Scene) -> None:
    seen = await scene.epoch()
    won = await race(Election(scene.cluster.redis, scene.cluster.postgres), await scene.secondaries(), seen)
    await scene.seated(won, monotonic())
    own = await scene.cluster.stores.with_own_database()
    postgres = Postgres(own, application="test")
    await postgres.open()
    try:
        election = Election(scene.cluster.redis, postgres)
        for epoch in range(ROUNDS):
            await race(election, [Agent(f"agent-{n}", boot=str(uuid4())) for n in range(CANDIDATES)], epoch)
    finally:
        await postgres.aclose()


async def race(election: Election, candidates: list[Agent], voted: int) -> Agent:
    """Let all stand at once for the same epoch; return the one that won."""
    barrier = asyncio.Barrier(len(candidates))
    # A connection's end is the one evidence after which the old primary may still act for a moment (I3).
    evidence = {
        "kind": "eof", "reason": "made up by a test", "voters": [it.id for it in candidates], "quorum": len(candidates)
    }  # fmt: skip

    async def stand(agent: Agent) -> int | None:
        async with barrier:
            pass
        return await election.elect(agent.id, agent.boot, voted=voted, evidence=evidence)

    epochs = await asyncio.gather(*map(stand, candidates))
    assert sorted(epoch or 0 for epoch in epochs) == [0] * (len(candidates) - 1) + [voted + 1]
    return candidates[epochs.index(voted + 1)]


@row(
    "F33", "forged heartbeat, votes and orders of a primary by a runner's user; a stale call by a keeper's",
    "denied and logged; refused by its epoch", elections=0,
)  # fmt: skip
async def f33(scene: Scene) -> None:
    cluster, primary = scene.cluster, await scene.primary()
    epoch = await scene.epoch()
    runner, keeper = (
        Redis(cluster.stores.settings(user, redis_key_prefix=cluster.prefix)) for user in ("runner", "keeper")
    )
    try:
        await cluster.redis.data.acl_log_reset()
        calls = forgeries(Registry(runner), Election(runner, cluster.postgres), primary, epoch)
        with capture_logs():  # this process logs a denial once, Redis each of them
            for forged in calls:
                await denied(forged)
        said: list[Any] = await cluster.redis.data.acl_log()
        logged = sum(int(it["count"]) for it in said if it["username"] == "runner")
        assert logged >= len(calls), f"{logged} of {len(calls)} denials were logged"
        election = Election(keeper, cluster.postgres)
        await refused(election.tell(epoch - 1, {"type": "routing", "primary": "agent-9"}))
        assert not await election.install("agent-9", "a boot", epoch), "an epoch was given away twice"
        assert await election.renew(primary.id, primary.boot, epoch - 1) == "other"
        assert not await election.release(primary.id, primary.boot, epoch - 1, successor="agent-9", kind="switchover")
    finally:
        await runner.aclose()
        await keeper.aclose()
    assert (await scene.primary()).boot == primary.boot


def forgeries(registry: Registry, election: Election, primary: Agent, epoch: int) -> list[Awaitable[object]]:
    """Return calls that only keepers may make."""
    boot = primary.boot
    return [
        registry.beat(Agent("agent-9", boot="a boot", can_vote=True, electable=True)),
        registry.leave(primary.id, boot, on_purpose=True),
        registry.suspect(primary.id, boot, voter="agent-9", window_ms=1500),
        registry.initialise("another generation", epoch + 7),
        election.vote("agent-9", "a boot", epoch=epoch, suspect=primary.id, evidence="eof"),
        election.install("agent-9", "a boot", epoch + 1),
        election.renew(primary.id, boot, epoch),
        election.reassert(primary.id, boot, epoch),
        election.release(primary.id, boot, epoch, successor="agent-9", kind="switchover"),
    ]


async def denied(call: Awaitable[object]) -> None:
    try:
        answer = await call
    except StoreDenies:
        return
    raise AssertionError(f"a runner may do what only keepers may: {answer}")


async def refused(call: Awaitable[object]) -> None:
    try:
        answer = await call
    except StaleEpoch:
        return
    raise AssertionError(f"a stale call was obeyed: {answer}")
