"""Distributed tasks whose agents die, stop, leave, or are killed by what they run."""

import asyncio
import signal

from appliance.core.clock import monotonic
from appliance.core.needs import of_agent
from appliance.core.records import Agent, TaskState
from appliance.core.task_batches import Wanted
from tests.boards import Boarded
from tests.cluster import Cluster
from tests.faults.rows import Bound, row
from tests.faults.rows_turns import PAUSES_S
from tests.faults.scene import Scene, send
from tests.faults.work import SLOTS, Work, board, working
from tests.waiting import wait_until

TASKS = 30
SHORT_PAUSE_S = 3.0
INNOCENTS = 20
PLACES = ("after_claim_before_ack", "after_commit_before_told")


async def all_done(made: Boarded[Cluster], ids: tuple[str, ...]) -> None:
    """Wait for the ends of tasks; each must have been done."""
    states = {it.state for it in await made.results(ids)}
    assert states == {TaskState.DONE}, states


async def nobody_brakes(scene: Scene) -> None:
    """Wait until all agents take tasks: after three deaths in earlier runs one may not, and the others be too full."""

    async def all_take() -> bool:
        return not scene.stage.seats.braked()

    await wait_until(all_take, of="the end of all brakes")


async def busy_secondary(scene: Scene, work: Work, ids: tuple[str, ...]) -> tuple[Agent, set[str]]:
    """Return a secondary and which of these tasks it runs; one that brakes runs none and is not chosen."""
    found = [(it, await work.of(ids, it)) for it in await scene.secondaries()]
    return scene.random.choice([(agent, tasks) for agent, tasks in found if tasks])


@row(
    "F21t", "agent SIGKILLed in mid task, in every other run its runner alone",
    "its tasks run again < 1 s, from the kill to the next claim; one result each",
    bounds={"rerun_s": Bound(p99=1.0)}, elections=0, often=True, cluster=working,
)  # fmt: skip
async def f21t(scene: Scene) -> None:
    work = Work(scene)
    async with board(scene) as made:
        await nobody_brakes(scene)
        ids = await made.publish("sleep", TASKS, seconds=2.0)
        await work.running(ids, TASKS)
        await scene.any_moment()
        lost, tasks = await busy_secondary(scene, work, ids)
        keeper = () if scene.number % 2 else (lost.keeper_pid,)
        began = send(signal.SIGKILL, *keeper, lost.runner_pid)
        await all_done(made, ids)
        again = await work.claims(ids, 2)
        assert again.keys() == tasks, f"{len(tasks)} tasks were lost, {len(again)} were run again"
        scene.measure(rerun_s=max(again.values()) - began)


@row(
    "F22t", f"agent paused {SHORT_PAUSE_S:g} s in mid task; then 30 s (10 s after the first run)",
    f"{SHORT_PAUSE_S:g} s: nothing is run again; longer: again after 5-7 s, and the zombie's commits are refused",
    bounds={"rerun_s": Bound(max=7.0)}, elections=0, cluster=working,
)  # fmt: skip
async def f22t(scene: Scene) -> None:
    work = Work(scene)
    async with board(scene) as made:
        ids = await made.publish("sleep", TASKS, seconds=2.0)
        await work.running(ids, TASKS)
        paused, _ = await busy_secondary(scene, work, ids)
        began = await scene.freeze(paused)
        await asyncio.sleep(began + SHORT_PAUSE_S - monotonic())
        scene.thaw(paused)
        await all_done(made, ids)
        assert not await work.claims(ids, 2), "a pause of three seconds made costly work run twice"
        await long_pause(scene, made, work)


async def long_pause(scene: Scene, made: Boarded[Cluster], work: Work) -> None:
    """Let an agent stop for so long that it is given up, then go on and try to commit."""
    ids = await made.publish("sleep", TASKS, seconds=2.0)
    await work.running(ids, TASKS)
    paused, tasks = await busy_secondary(scene, work, ids)
    began = await scene.freeze(paused)
    await all_done(made, ids)
    again = await work.claims(ids, 2)
    assert again.keys() == tasks
    scene.measure(rerun_s=max(again.values()) - began, rerun_at_the_earliest_s=min(again.values()) - began)
    await asyncio.sleep(began + PAUSES_S[scene.number > 0] - monotonic())
    send(signal.SIGCONT, paused.runner_pid)  # its keeper would kill it for having been buried: it gets its chance

    async def refused() -> bool:
        async with scene.cluster.sql() as sql:
            query = "select 1 from refusals where what = 'commit_tasks' and boot = %s"
            return await (await sql.execute(query, [paused.boot])).fetchone() is not None

    await wait_until(refused, of="a refused commit")
    scene.thaw(paused)


@row(
    "F23t", "agent SIGKILLs itself between claim and XACK; in every other run between its commit and telling of it",
    "the entry is dropped, whoever waits learns of the end, one result each",
    bounds={"results_s": Bound(max=3.0)}, elections=0, cluster=working,
)  # fmt: skip
async def f23t(scene: Scene) -> None:
    armed = await scene.arm(await scene.secondary(), f"{PLACES[scene.number % 2]}:kill")
    longest_s = 0.0
    async with board(scene) as made:

        async def dead() -> bool:
            nonlocal longest_s
            began = monotonic()
            await all_done(made, await made.publish("where", 12, seconds=0.01))
            longest_s = max(longest_s, monotonic() - began)
            return (await scene.cluster.agent(armed.id)).boot != armed.boot

        await wait_until(dead, of=f"the end of {armed.id}'s runner at its failpoint")
    scene.measure(results_s=longest_s)


@row(
    "F24n", "the only agent that can is SIGKILLed while directed tasks run and wait there; started again afterwards",
    "other tasks of the same person are done meanwhile; its own run once it is back, there alone, one result each",
    bounds={"others_s": Bound(max=5.0), "first_s": Bound(max=3.0), "all_done_s": Bound(max=12.0)}, elections=0,
    cluster=working,
)  # fmt: skip
async def f24n(scene: Scene) -> None:
    work, lost = Work(scene), await scene.secondary()
    async with board(scene) as made:
        await nobody_brakes(scene)
        only_there = Wanted("sleep", {"seconds": 1.0}, needs=(of_agent(lost.id),))
        directed = await made.publish_all("ada", [only_there] * TASKS)
        await work.running(directed, SLOTS)
        began = await scene.kill(lost.keeper_pid, lost.runner_pid)
        await all_done(made, await made.publish("where", TASKS))
        scene.measure(others_s=monotonic() - began)
        scene.cluster.revive()
        back = await is_back(scene, lost)
        await all_done(made, directed)
        claims = [*(await work.claims(directed, 1)).values(), *(await work.claims(directed, 2)).values()]
        first = min(at for at in claims if at > began)
        scene.measure(first_s=max(0.0, first - back), all_done_s=monotonic() - back)
        assert await work.agents_of(directed) == {lost.id}


async def is_back(scene: Scene, lost: Agent) -> float:
    """Wait until an agent that died serves again; return that moment."""

    async def serves() -> bool:
        agent = await scene.cluster.agent(lost.id)
        return agent.boot != lost.boot and agent.status == "active" and agent.boot_alive

    await wait_until(serves, of=f"{lost.id}, which was started again")
    return monotonic()


@row(
    "F25t", f"a task that SIGKILLs its runner, or hangs it, among {INNOCENTS} others",
    "only it is dead, at its third crash", bounds={"all_ended_s": Bound(max=60.0)}, cluster=working,
)  # fmt: skip
async def f25t(scene: Scene) -> None:
    work = Work(scene)
    culprit = Wanted("hang", {"seconds": 60.0}) if scene.number % 2 else Wanted("poison", {"after": 0.3})
    async with board(scene) as made:
        ids = await made.publish_all("ada", [culprit, *(Wanted("sleep", {"seconds": 1.5}) for _ in range(INNOCENTS))])
        scene.culprits.add(ids[0])
        began = monotonic()
        end, *others = await made.results(ids, within_s=100)
        scene.measure(all_ended_s=monotonic() - began)
    assert (end.state, end.reason) == (TaskState.DEAD, "The agent that ran it died three times.")
    assert {it.state for it in others} == {TaskState.DONE}
    assert await work.column("crash_count", ids[:1]) == [3]


@row(
    "F26t", f"an agent drained by SIGTERM with {TASKS} running tasks in all, half of them too long to wait for",
    "0 lost, 0 counted as failed; what it handed back runs again < 1 s later",
    bounds={"rerun_s": Bound(max=1.0)}, draining=True, cluster=working,
)  # fmt: skip
async def f26t(scene: Scene) -> None:
    work = Work(scene)
    async with board(scene) as made:
        lengths = [1.5 + 4.5 * (number % 2) for number in range(TASKS)]
        ids = await made.publish_all("ada", [Wanted("sleep", {"seconds": length}) for length in lengths])
        await work.running(ids, TASKS)
        await scene.any_moment()
        drained, _ = await busy_secondary(scene, work, ids)
        assert await scene.cluster.terminate(drained.id) == 0
        ended = monotonic()
        await all_done(made, ids)
        again = await work.claims(ids, 2)
        assert again, "nothing was handed back"
        scene.measure(rerun_s=max(again.values()) - ended)
