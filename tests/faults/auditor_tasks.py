"""Do the invariants of FAULTS.md hold for distributed tasks? Rows, their history, streams, and a service outside."""

from typing import Any

from appliance.core.records import PRIORITIES
from appliance.core.task_batches import TRIES
from tests.faults.facts import ENDED, Facts
from tests.waiting import wait_until

EMPTIES_S = 15.0
"""Within so much quiet no stream tells of a row that does not wait: a third of what I9 allows."""
CRASHES = 3
LEAST_LOW, TOO_FEW = 0.08, 200
"""The share of low priority (I15), and so many claims are needed to speak of shares."""


async def unfinished_tasks(facts: Facts) -> list[str]:
    """I6: tasks that were accepted and are gone, or have not ended."""
    rows = await facts.tasks()
    gone = [f"task {id_} is gone" for id_ in facts.published if id_ not in rows]
    return gone + [f"task {id_} is {row['state']}" for id_, row in rows.items() if row["state"] not in ENDED]


async def doubled_results(facts: Facts) -> list[str]:
    """I7: a task ends once, by the attempt that its row names."""
    rows = await facts.rows(
        "select t.id, t.attempt, array_agg(h.attempt order by h.at) as ends from tasks t"
        " join task_history h on h.id = t.id and h.state = any(%(ended)s) where t.state = any(%(ended)s)"
        " group by t.id having array_agg(h.attempt) <> array[t.attempt]", ended=list(ENDED),
    )  # fmt: skip
    return [f"task {row['id']} of attempt {row['attempt']} was ended by attempts {row['ends']}" for row in rows]


async def effects_happen_once(facts: Facts) -> list[str]:
    """I8: what a task did outside was done under its own key, once, and its result says so; no step is left open."""
    rows = {id_: row for id_, row in (await facts.tasks()).items() if row["kind"] == "effect"}
    foreign = [
        f"something was done outside under {key}, which is no task's" for key in facts.effects if key not in rows
    ]
    open_steps = await facts.rows(
        "select s.task_id, s.step_no, s.state from steps s join tasks t on t.id = s.task_id"
        " where t.state = 'done' and s.state <> 'done'"
    )
    return [
        *foreign,
        *(f"task {id_} says {row['result']}, outside {facts.effects.get(id_)} was done"
          for id_, row in rows.items()
          if row["state"] == "done" and (row["result"] or {}).get("effect") != facts.effects.get(id_)),
        *(f"step {it['step_no']} of task {it['task_id']}, which is done, is {it['state']}" for it in open_steps),
    ]  # fmt: skip


async def streams_empty_out(facts: Facts) -> list[str]:
    """I9: no entry, mark or pending one of a row that does not wait, and no reader whose boot is gone."""

    async def empty() -> bool:
        return not await _left_in_streams(facts)

    try:
        await wait_until(empty, within_s=EMPTIES_S, of="streams without remains")
    except AssertionError:
        return await _left_in_streams(facts)
    return []


async def _left_in_streams(facts: Facts) -> list[str]:
    redis: Any = facts.redis.data  # its stubs know every answer it has ever given
    keys = facts.redis.keys
    told: dict[str, str] = {task: "a mark" for task in await redis.hgetall(keys.tasks_queued)}
    found: list[str] = []
    needs = await redis.smembers(keys.tasks_needs)
    places = [*PRIORITIES, *(f"{priority}:{it}" for priority in PRIORITIES for it in sorted(needs))]
    for stream in map(keys.tasks, places):
        if await redis.exists(stream):
            entries = await redis.xrange(stream)
            told |= {fields["t"]: f"an entry in {stream}" for _, fields in entries}
            found += await _readers(facts, stream, len(entries))
    waiting = await facts.rows("select id from tasks where state = 'queued' and id = any(%(ids)s)", ids=list(told))
    known = {str(row["id"]) for row in waiting}
    return found + [f"{what} tells of task {task}, which does not wait" for task, what in told.items()
                    if task not in known]  # fmt: skip


async def _readers(facts: Facts, stream: str, entries: int) -> list[str]:
    readers = await facts.redis.data.xinfo_consumers(stream, "agents")
    pending = sum(reader["pending"] for reader in readers)
    gone = [it["name"] for it in readers if not await facts.redis.data.exists(facts.redis.keys.boot(it["name"]))]
    wrong = [f"boot {name} is gone and still reads {stream}" for name in gone]
    return wrong + ([f"{pending} of {entries} entries are pending in {stream}"] if pending > entries else [])


async def only_the_guilty_die(facts: Facts) -> list[str]:
    """I10: a task is dead by its own failures or its own crashes, and a culprit is."""
    rows = await facts.tasks()
    dead = {id_: row for id_, row in rows.items() if row["state"] == "dead"}
    return [
        *(f"task {id_} is dead after {row['fail_count']} failures and {row['crash_count']} crashes"
          for id_, row in dead.items() if row["fail_count"] < TRIES and row["crash_count"] < CRASHES),
        *(f"innocent task {id_} is dead: {row['reason']}" for id_, row in dead.items()
          if facts.culprits and id_ not in facts.culprits),
        *(f"culprit {id_} is not dead" for id_ in facts.culprits if id_ not in dead),
    ]  # fmt: skip


async def low_priority_gets_its_share(facts: Facts) -> list[str]:
    """I15: of what is claimed while all three classes wait, at least 8 in a hundred are of low priority."""
    claims = while_all_wait(await claims_of_classes(facts))
    share = claims.count("low") / max(1, len(claims))
    enough = len(claims) < TOO_FEW or share >= LEAST_LOW
    return [] if enough else [f"{share:.1%} of {len(claims)} claims under overload were of low priority"]


async def claims_of_classes(facts: Facts) -> list[str]:
    """Return the priorities of published tasks in the order of their first claims, once all classes had been put up."""
    rows = await facts.rows(
        "with put_up as (select priority, min(created_at) as at from tasks where id = any(%(ids)s) group by priority)"
        " select priority from task_history where state = 'running' and attempt = 1 and id = any(%(ids)s)"
        " and at > (select max(at) from put_up) order by at", ids=list(facts.published),
    )  # fmt: skip
    return [row["priority"] for row in rows]


def while_all_wait(claims: list[str]) -> list[str]:
    """Return the claims up to the last one of the class that ran out first; none where a class is missing. Pure."""
    last = {priority: at for at, priority in enumerate(claims, 1)}
    return claims[: min(last.values())] if len(last) == len(PRIORITIES) else []
