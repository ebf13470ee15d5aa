"""What rows ask of a cluster that must not be disturbed: the same primary before and after, and a quick return."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from appliance.core.clock import monotonic
from appliance.core.records import Agent
from appliance.core.registry import Registry
from tests.faults.chat import Chat
from tests.faults.convergence import what_is_not_whole
from tests.faults.scene import Scene
from tests.waiting import wait_until

_WORDS_A_S = 20
WORDS = ("token", "snapshot", "done")
USUAL_RUNS = 3


def story(seconds: float) -> str:
    """Return a question whose answer takes so long."""
    return f"a story of {seconds:g} s [[tokens={round(seconds * _WORDS_A_S)} delay={1000 // _WORDS_A_S}ms]]"


def longer_in_full(scene: Scene) -> float:
    """Return how many seconds a fault that must do nothing lasts: longer in the runs that only RUNS=full has."""
    return 15.0 if scene.number < USUAL_RUNS else 60.0


async def no_try_failed(scene: Scene) -> None:
    """Check that no turn was counted as failed: an absent Redis is nobody's failure."""
    async with scene.cluster.sql() as sql:
        ids = [it.turn for it in scene.acknowledged]
        done = await sql.execute("select id, reason from tasks where id = any(%s) and fail_count > 0", [ids])
        failed = await done.fetchall()
    assert not failed, f"turns were counted as failed: {failed}"


@asynccontextmanager
async def same_primary(scene: Scene) -> AsyncIterator[Agent]:
    """Give the primary; whatever is done inside must leave this very boot in its seat."""
    before = await scene.primary()
    yield before
    after = await scene.primary()
    assert after.boot == before.boot, f"{before.id} lost its seat to {after.id}"


async def acts_again(scene: Scene, began: float, *, within_s: float = 30.0) -> float:
    """Return how many seconds after `began` an agent may act as primary, by its own page of memory."""

    async def acts() -> bool:
        return bool(scene.stage.seats.taken())

    await wait_until(acts, within_s=within_s, of="a primary that may act")
    return monotonic() - began


async def speaks_again(chat: Chat, began: float, *, within_s: float = 30.0) -> float:
    """Return how many seconds after `began` a tab was shown more of its answer."""

    async def later() -> float | None:
        return next((event["at"] for event in chat.events if event["at"] > began and event["type"] in WORDS), None)

    at: float = await wait_until(later, within_s=within_s, of="something new in the tab")
    return at - began


async def whole_again(scene: Scene, began: float, *, within_s: float = 30.0) -> float:
    """Return how many seconds after `began` registry, roles, routes and ledger agreed."""
    cluster = scene.cluster
    async with cluster.sql() as sql:

        async def whole() -> bool:
            return not await wrong()

        async def wrong() -> list[str]:
            return await what_is_not_whole(sql, Registry(cluster.redis), cluster.keepers(), cluster.listed)

        with suppress(AssertionError):
            await wait_until(whole, within_s=within_s, of="a whole cluster")
            return monotonic() - began
        raise AssertionError(f"not whole after {within_s} s: {await wrong()}")
