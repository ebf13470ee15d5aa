"""Redis loses what it was told of tasks, or a reply, while many wait; and who gets how much when all want all."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from appliance.core.clock import monotonic
from appliance.core.records import PRIORITIES
from appliance.core.task_batches import Wanted
from tests.boards import Boarded
from tests.cluster import Cluster
from tests.faults.auditor_tasks import while_all_wait
from tests.faults.rows import Bound, row
from tests.faults.rows_stores import log_of, redis_dies, redis_forgets
from tests.faults.rows_tasks import all_done
from tests.faults.scene import Scene
from tests.faults.steady import same_primary
from tests.faults.wired import running_wired, wires
from tests.faults.work import AGENTS, SLOTS, WORKING, Work, board, working

QUEUED, MANY, RUNNING = 1000, 5000, 50
LENGTH_S = 0.2
PUBLISHED_AT_ONCE = 500
wired = partial(running_wired, AGENTS, **WORKING)


async def put_up(made: Boarded[Cluster], count: int, *, by: str = "ada", **payload: object) -> tuple[str, ...]:
    """Publish many tasks of one person."""
    sizes = [min(PUBLISHED_AT_ONCE, count - at) for at in range(0, count, PUBLISHED_AT_ONCE)]
    return tuple([id_ for size in sizes for id_ in await made.publish("where", size, by=by, **payload)])


async def under_load(scene: Scene, count: int, befall: Callable[[], Awaitable[float]]) -> None:
    """Let something befall Redis while `count` tasks wait; measure until work goes on, and until all are done."""
    work = Work(scene)
    async with same_primary(scene), board(scene) as made:
        ids = await put_up(made, count + QUEUED, seconds=LENGTH_S)
        await work.running(ids, RUNNING)
        before = monotonic()
        began = await befall()
        queued = await work.queued_at(ids, before)
        assert queued >= count, f"only {queued} tasks waited"
        await all_done(made, ids)
        scene.measure(all_done_s=monotonic() - began)
        claims = sorted((await work.claims(ids, 1)).values())
        scene.measure(back_s=longest_rest(claims, before) - (began - before))
    assert set(await work.column("attempt", ids)) == {1}, "what ran was run again"


def longest_rest(claims: list[float], since: float) -> float:
    """Return the longest time from `since` on in which nothing was claimed. Pure."""
    at = [since, *(claim for claim in claims if claim > since)]
    return max(later - earlier for earlier, later in pairwise(at))


@row(
    "F13t", f"Redis SIGKILL under {QUEUED} queued tasks; it is back with its file cut off in mid command, or empty",
    "all are done, each once; taken again < 5 s after Redis is back", bounds={"back_s": Bound(max=5.0)}, elections=0,
    cluster=working,
)  # fmt: skip
async def f13t(scene: Scene) -> None:
    before = log_of(scene.cluster.stores.home.data / "redis").stat().st_size

    def befall(data: Path) -> None:
        if scene.number % 2:
            shutil.rmtree(data / "appendonlydir")
        else:
            os.truncate(log_of(data), before + 7)  # in the middle of a command

    await under_load(scene, QUEUED, lambda: redis_dies(scene, scene.random.uniform(0.3, 1.0), befall))


@row(
    "F35t", f"FLUSHALL with {MANY} queued tasks and {RUNNING} running",
    "all are done, each once; back at work < 10 s", bounds={"back_s": Bound(max=10.0)}, elections=0, cluster=working,
)  # fmt: skip
async def f35t(scene: Scene) -> None:
    await under_load(scene, MANY, lambda: redis_forgets(scene))


@row(
    "F24", "an agent's read of the streams is lost after it was made; so is a telling; then entries are lost",
    "work runs within 6 s, once", bounds={"run_s": Bound(max=6.0)}, elections=0, cluster=wired,
)  # fmt: skip
async def f24(scene: Scene) -> None:
    rules = wires(scene).replies
    work = Work(scene)
    worker, primary = await scene.secondary(), await scene.primary()
    async with board(scene) as made:
        ids: tuple[str, ...] = ()
        for agent, function in ((worker, "fetch"), (primary, "enqueue"), (worker, "enqueue")):
            rules[agent.id].swallow("FCALL", function, nth=2)
            ids += await put_up(made, 4 * AGENTS * SLOTS, seconds=0.05)
        await all_done(made, ids)
        lost = await put_up(made, 3 * AGENTS * SLOTS, seconds=LENGTH_S)
        await scene.cluster.redis.data.delete(*map(scene.cluster.redis.keys.tasks, PRIORITIES))
        await all_done(made, lost)
    swallowed = {words for rule in rules.values() for words in rule.swallowed}
    assert swallowed == {("FCALL", "FETCH"), ("FCALL", "ENQUEUE")}, f"only {swallowed} were lost"
    scene.measure(run_s=max(await work.waits(ids + lost)))
    assert set(await work.column("fail_count", ids + lost)) == {0}


@row(
    "FAIR", "somebody puts up one task behind 1,000 of somebody else", "it waits for less than three lengths of a task",
    bounds={"waits_s": Bound(max=1.5)}, elections=0, cluster=working,
)  # fmt: skip
async def fair(scene: Scene) -> None:
    work = Work(scene)
    async with board(scene) as made:
        many = await put_up(made, 1000, by="bob", seconds=0.5)
        await work.running(many, AGENTS * SLOTS)  # with one slot free it would not wait at all
        one = await made.publish("where", by="ada", seconds=0.5)
        await all_done(made, one)
        # Between two waves none of them runs: counted is what has not ended.
        assert len(await work.unended(many)) >= RUNNING, "nothing was in its way"
        scene.measure(waits_s=max(await work.waits(one)))
        await all_done(made, many)


@row(
    "LOW", "three people put up 900 tasks each, one of high, one of normal, one of low priority",
    "high and normal together take 92 of 100 places at most (I15)",
    bounds={"high_and_normal": Bound(max=0.92)}, elections=0, cluster=working,
)  # fmt: skip
async def low(scene: Scene) -> None:
    work = Work(scene)
    async with board(scene) as made:
        lengths = [scene.random.uniform(0.05, 0.15) for _ in range(900)]
        wanted = {name: [Wanted("where", {"seconds": length}, name) for length in lengths] for name in PRIORITIES}
        published = await asyncio.gather(*(made.publish_all(f"person {name}", it) for name, it in wanted.items()))
        ids = tuple(id_ for some in published for id_ in some)
        await all_done(made, ids)
        claims = while_all_wait(await work.claims_of_classes(ids))
    scene.measure(high_and_normal=1 - claims.count("low") / len(claims))
