"""Do the invariants of FAULTS.md hold? Looks at both stores, logs, processes and what clients were told.

Every check returns what it found wrong, in words. `Facts` says what there is to look at.
I3 is seen from outside only: who may act is read from the agents' own pages every 10 ms, and who commits is I2.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from appliance.core.clock import monotonic
from appliance.core.election.decide import Evidence
from appliance.core.registry import Registry
from tests.faults import auditor_memory, auditor_tasks
from tests.faults.convergence import what_is_not_whole
from tests.faults.facts import ENDED, Check, Facts
from tests.faults.fenced import STALE
from tests.waiting import wait_until

QUIET_S = 3.0
"""Within so much quiet Redis' epoch is PostgreSQL's (I4)."""
CONVERGES_S = 10.0
ENDS_S = 30.0
KINDS = get_args(Evidence)


async def epochs_rise_by_one(facts: Facts) -> list[str]:
    """I1: one row an epoch, without a hole, and the term in force is the last one's."""
    rows = await facts.rows("select epoch, old_primary, new_primary, new_boot from failovers order by epoch")
    term = (await facts.rows("select epoch, primary_id, boot from cluster_epoch where id = 1"))[0]
    epochs = [row["epoch"] for row in rows]
    wrong = [] if epochs == list(range(1, len(epochs) + 1)) else [f"epochs are {epochs}"]
    last = (rows[-1]["epoch"], rows[-1]["new_primary"], rows[-1]["new_boot"]) if rows else (0, None, None)
    if (term["epoch"], term["primary_id"], term["boot"]) != last:
        wrong.append(f"the term in force is {term}, the last election gave {last}")
    return wrong + [
        f"epoch {row['epoch']} followed {row['old_primary']}, not {before['new_primary']}"
        for before, row in pairwise(rows) if row["old_primary"] != before["new_primary"]
    ]  # fmt: skip


async def no_stale_commit(facts: Facts) -> list[str]:
    """I2: nothing that carries an epoch was committed after the birth of the next one."""
    promoted = STALE.replace("fenced_writes", "failovers") + " and w.served_at is not null"
    return [
        f"a write of epoch {row['epoch']} in {table} was committed after epoch {row['epoch'] + 1} was born"
        for table, query in (("fenced_writes", STALE), ("failovers", promoted)) for row in await facts.rows(query)
    ]  # fmt: skip


async def leases_overlap_only_after_a_broken_connection(facts: Facts) -> list[str]:
    """I3, from outside: two agents may act at once only if the newer one was elected on end-of-file."""
    kinds = {row["epoch"]: row["kind"] for row in await facts.rows("select epoch, kind from failovers")}
    return [f"{older} and {newer} might act at once, elected by {kinds.get(newer.epoch)}"
            for older, newer in facts.overlaps if kinds.get(newer.epoch) != "eof"]  # fmt: skip


async def redis_epoch_is_not_ahead(facts: Facts) -> list[str]:
    """I4: the copy is never above the original, and equal within 3 s of quiet."""

    async def both() -> tuple[int, int]:
        copy = int(await facts.redis.data.get(facts.redis.keys.epoch) or 0)  # read first: both only rise
        return copy, (await facts.rows("select epoch from cluster_epoch"))[0]["epoch"]

    async def equal() -> bool:
        copy, original = await both()
        return copy >= original

    try:
        await wait_until(equal, within_s=QUIET_S, of="equal epochs")
    except AssertionError:
        copy, original = await both()
        return [f"after {QUIET_S} s Redis says epoch {copy}, PostgreSQL {original}"]
    copy, original = await both()
    return [f"Redis says epoch {copy}, PostgreSQL {original}"] if copy > original else []


async def acknowledged_messages_are_kept(facts: Facts) -> list[str]:
    """I5: what a client was told to be accepted is in PostgreSQL."""
    ids = [it.message for it in facts.acknowledged]
    rows = await facts.rows("select id, task_id, text from messages where role = 'user' and id = any(%(ids)s)", ids=ids)
    kept = {(str(row["id"]), str(row["task_id"]), row["text"]) for row in rows}
    return [f"acknowledged and not kept: {it}" for it in facts.acknowledged
            if (it.message, it.turn, it.text) not in kept]  # fmt: skip


async def everything_accepted_ends(facts: Facts) -> list[str]:
    """I6: every accepted turn and task ends; the end of a turn is announced."""

    async def unfinished() -> list[str]:
        found = {str(row["id"]): row for row in await facts.turns()}
        missing = [f"turn {it.turn} is gone" for it in facts.acknowledged if it.turn not in found]
        missing += [
            f"turn {turn} is {row['state']}" + (", unannounced" if row["announced_at"] is None else "")
            for turn, row in found.items()
            if row["state"] not in ENDED or row["announced_at"] is None
        ]
        return missing + await auditor_tasks.unfinished_tasks(facts)

    async def all_ended() -> bool:
        return not await unfinished()

    try:
        await wait_until(all_ended, within_s=ENDS_S, of="the end of all turns and tasks")
    except AssertionError:
        return await unfinished()
    return []


async def one_result_of_the_current_attempt(facts: Facts) -> list[str]:
    """I7: at most one committed answer a turn and one end a task, by the attempt that the row names."""
    rows = await facts.rows(
        "select t.id, t.attempt, t.result, array_agg(m.meta->>'attempt') filter (where m.id is not null) as answers"
        " from tasks t left join messages m on m.task_id = t.id and m.role = 'assistant'"
        " where t.state = 'done' and t.kind = 'conversation' group by t.id"
    )
    wrong = [f"turn {row['id']} of attempt {row['attempt']} has answers of {row['answers']} and result {row['result']}"
             for row in rows if row["answers"] != [str(row["attempt"])]
             or (row["result"] or {}).get("attempt") != row["attempt"]]  # fmt: skip
    return wrong + await auditor_tasks.doubled_results(facts)


async def elections_have_evidence(facts: Facts) -> list[str]:
    """I11: a quorum, an audited sole survivor, or a release that named the successor."""
    rows = await facts.rows("select epoch, kind, sole, old_primary, evidence from failovers")
    return [f"epoch {row['epoch']}: {why}" for row in rows if (why := _unfounded(row))]


def _unfounded(row: Mapping[str, Any]) -> str:
    evidence = row["evidence"]
    voters, quorum = evidence.get("voters") or [], evidence.get("quorum") or 0
    if row["kind"] not in KINDS:
        return f"kind {row['kind']!r}"
    if row["old_primary"] and row["old_primary"] in voters:
        return f"{row['old_primary']} voted against itself"
    if row["kind"] == "switchover" or row["sole"]:
        return "" if evidence.get("reason") else "no reason is given"
    return "" if len(set(voters)) >= max(1, quorum) else f"{voters} voted, {quorum} were needed"


async def draining_costs_nothing(facts: Facts) -> list[str]:
    """I13: where agents were only drained, every turn was answered, every task done and none counted as failed."""
    if not facts.drained:
        return []
    rows = [*await facts.turns(), *(await facts.tasks()).values()]
    return [f"{row['kind']} {row['id']} ended as {row['state']} after {row['fail_count']} failures,"
            f" {row['crash_count']} crashes" for row in rows
            if row["state"] != "done" or row["fail_count"] or row["crash_count"]]  # fmt: skip


async def turns_are_numbered(facts: Facts) -> list[str]:
    """I14: 1, 2, 3 … in every conversation."""
    rows = await facts.rows(
        "select conversation_id, array_agg(turn_no order by turn_no) as numbers from tasks"
        " where kind = 'conversation' group by conversation_id"
    )
    return [f"turns of {row['conversation_id']} are numbered {row['numbers']}" for row in rows
            if row["numbers"] != list(range(1, len(row["numbers"]) + 1))]  # fmt: skip


async def cluster_is_whole_again(facts: Facts) -> list[str]:
    """I16: roles, one primary, registry, routes and the ledger agree within 10 s."""
    until = monotonic() + CONVERGES_S

    async def whole() -> bool:
        return not await what_is_not_whole(facts.sql, Registry(facts.redis), facts.keepers, facts.listed)

    try:
        await wait_until(whole, within_s=max(0.1, until - monotonic()), of="a whole cluster")
    except AssertionError:
        return await what_is_not_whole(facts.sql, Registry(facts.redis), facts.keepers, facts.listed)
    return []


async def no_secret_is_shown(facts: Facts) -> list[str]:
    """I17: no secret value stands in a log, a process's environment or command line, or a stream entry."""
    found = [f"{name} stands in {place}" for place, text in _written(facts) for name in _secrets_in(text, facts)]
    async for key in facts.redis.data.scan_iter(f"{facts.redis.keys.prefix}*", _type="stream", count=1000):
        text = repr(await facts.redis.data.xrange(key)).encode()
        found += [f"{name} stands in stream {key}" for name in _secrets_in(text, facts)]
    return found


def _written(facts: Facts) -> list[tuple[str, bytes]]:
    texts = [(f"the log of {name}", path.read_bytes()) for name, path in facts.logs.items()]
    for name, pid in facts.programs.items():
        for part in ("environ", "cmdline"):
            try:
                texts.append((f"the {part} of {name}", Path(f"/proc/{pid}/{part}").read_bytes()))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since
    return texts


def _secrets_in(text: bytes, facts: Facts) -> list[str]:
    return [name for name, value in facts.secrets.items() if value.encode() in text]


CHECKS: dict[str, Check] = {
    "I16": cluster_is_whole_again,
    "I6": everything_accepted_ends,
    "I4": redis_epoch_is_not_ahead,
    "I1": epochs_rise_by_one,
    "I2": no_stale_commit,
    "I3": leases_overlap_only_after_a_broken_connection,
    "I5": acknowledged_messages_are_kept,
    "I7": one_result_of_the_current_attempt,
    "I8": auditor_tasks.effects_happen_once,
    "I9": auditor_tasks.streams_empty_out,
    "I10": auditor_tasks.only_the_guilty_die,
    "I11": elections_have_evidence,
    "I13": draining_costs_nothing,
    "I14": turns_are_numbered,
    "I15": auditor_tasks.low_priority_gets_its_share,
    "I17": no_secret_is_shown,
    "I18": auditor_memory.messages_are_read_once,
}
"""In this order: the first ones wait until the cluster is quiet."""


async def audit(facts: Facts) -> list[str]:
    """Make every check; return the violations, each with its invariant."""
    return [f"{name}: {wrong}" for name, check in CHECKS.items() for wrong in await check(facts)]


def checked(*, drained: bool, no_election: bool) -> list[str]:
    """Return the names of the invariants that are checked; I12 is the count of elections."""
    names = {name for name in CHECKS if drained or name != "I13"} | ({"I12"} if no_election else set())
    return sorted(names, key=lambda name: int(name[1:]))
