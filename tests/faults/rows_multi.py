"""`/multi` while its orchestrator and a worker die."""

import asyncio
import signal
from collections import Counter
from typing import Any

from appliance.core.clock import monotonic
from tests.client import follow_to_the_end
from tests.faults.chat import ask
from tests.faults.rows import Bound, row
from tests.faults.scene import Scene, send
from tests.faults.work import working
from tests.waiting import wait_until

CHILDREN = "select id, state, idem_key, owner_boot from tasks where parent_id = %s and kind = 'sub_agent'"


def plan(number: int) -> str:
    """Return a plan whose words say which run asked, so that its calls are found at the provider."""
    return (
        f"/multi Survive {number}\n- early = researcher: Quick [[tokens=2 word=early{number}x]]\n"
        f"- late = researcher: Slow [[tokens=80 delay=40ms word=late{number}x]]\n"
        f"- last = reviewer (after early, late): Both [[tokens=2 word=last{number}x]]"
    )


async def calls(scene: Scene, word: str = "") -> list[dict[str, Any]]:
    """Return the calls of this run at the provider, or those of one sub-agent."""
    found = await scene.cluster.provider.calls()
    mine = [it for it in found if f"Survive {scene.number}\n" in it["message"] or f"{scene.number}x" in it["message"]]
    return [it for it in mine if f"word={word}{scene.number}x" in it["message"].partition("\n")[0]] if word else mine


@row(
    "F21m", "/multi, primary and the worker of a sub-agent SIGKILLed in the middle",
    "one answer; a call that had finished and was committed is made once; the other sub-agent is asked again",
    bounds={"answer_s": Bound(max=15.0)}, elections=1, often=True, cluster=working,
)  # fmt: skip
async def f21m(scene: Scene) -> None:
    primary = await scene.primary()
    conversation = await scene.person.create()
    asked, cursor = await ask(scene.person, conversation, plan(scene.number), scene.acknowledged.append)
    seen = asyncio.create_task(follow_to_the_end(scene.person, conversation, asked.turn, cursor))
    worker = await half_way(scene, asked.turn)
    victims = [it for it in (await scene.cluster.view()).agents if it.boot == worker and it.id != primary.id]
    victims = [primary, *(victims or [await scene.secondary()])]
    began = send(signal.SIGKILL, *(pid for it in victims for pid in (it.keeper_pid, it.runner_pid)))
    events = await asyncio.wait_for(seen, 60)
    scene.measure(answer_s=monotonic() - began)
    assert events[-1]["type"] == "done", events[-1]
    children = {it["id"]: it["state"] for it in events if it["type"] == "child"}
    assert children == {"early": "done", "late": "done", "last": "done"}, children
    finished = Counter(it["idem_key"] for it in await calls(scene) if it["finished"])
    assert set(finished.values()) == {1}, f"a call that had finished was made again: {finished}"
    made = {word: len(await calls(scene, word)) for word in ("early", "late", "last")}
    assert made == {"early": 1, "late": 2, "last": 1}, made


async def half_way(scene: Scene, turn: str) -> str:
    """Wait until one result is committed and the other one is being said; return the boot that says it."""

    async def middle() -> str | None:
        async with scene.cluster.sql() as sql:
            rows = await (await sql.execute(CHILDREN, [turn])).fetchall()
        running = [str(row["owner_boot"]) for row in rows if row["state"] == "running"]
        done = [row for row in rows if row["state"] == "done"]
        return running[0] if done and running and await calls(scene, "late") else None

    boot: str = await wait_until(middle, of="one result, and one on its way")
    return boot
