"""The auditor is fed one violation at a time, in real stores, and says so: a check that sees nothing proves nothing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from appliance.core.records import Agent, Role, Status
from tests.faults import auditor, auditor_tasks
from tests.faults.auditor import CHECKS, audit
from tests.faults.seats import Seat
from tests.faults.world import World, healthy_world
from tests.stores import Stores


@pytest.fixture
async def world(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    for name in ("ENDS_S", "CONVERGES_S", "QUIET_S"):
        monkeypatch.setattr(auditor, name, 0.2)
    monkeypatch.setattr(auditor_tasks, "EMPTIES_S", 0.2)
    async with healthy_world(stores) as world:
        yield world


async def test_a_healthy_history_violates_nothing(world: World) -> None:
    assert await audit(world.facts) == []


def test_every_check_is_fed_a_violation() -> None:
    text = Path(__file__).read_text()
    assert [name for name in CHECKS if f'"{name}"' not in text] == []


@pytest.mark.parametrize(
    ("invariant", "what", "statements"),
    [
        ("I1", "epochs are [2]", ["delete from failovers where epoch = 1"]),
        ("I1", "the term in force is", ["update cluster_epoch set epoch = 3"]),
        ("I1", "followed", ["update failovers set old_primary = 'agent-7' where epoch = 2"]),
        ("I2", "a write of epoch 1 in fenced_writes", ["insert into fenced_writes(epoch) values (1)"]),
        ("I2", "a write of epoch 1 in failovers", ["update failovers set served_at = now() where epoch = 1"]),
        ("I4", "PostgreSQL 3", ["update cluster_epoch set epoch = 3"]),
        ("I5", "acknowledged and not kept", ["update messages set text = 'other' where role = 'user'"]),
        ("I5", "acknowledged and not kept", ["delete from messages where role = 'user'"]),
        ("I6", "is waiting", ["update tasks set state = 'waiting'"]),
        ("I6", "unannounced", ["update tasks set announced_at = null"]),
        ("I6", "is gone", ["delete from messages", "delete from tasks"]),
        ("I7", "has answers of ['1', '1']", [
            "alter table messages drop constraint messages_task_id_role_key",
            "insert into messages select (jsonb_populate_record(m, jsonb_build_object('id', gen_random_uuid()))).*"
            " from messages m where role = 'assistant'",
        ]),
        ("I7", "has answers of ['1']", ["update tasks set attempt = 2, result = '{\"attempt\": 2}'"]),
        ("I7", "of attempt 2", ["update tasks set attempt = 2", "update messages set meta = '{\"attempt\": 2}'"]),
        ("I7", "has answers of None", ["delete from messages where role = 'assistant'"]),
        ("I6", "task", ["update tasks set state = 'waiting' where kind = 'nothing'"]),
        ("I6", "is gone", ["delete from tasks where kind = 'nothing'"]),
        ("I7", "was ended by attempts [1, 1]", ["update tasks set state = 'done' where kind = 'nothing'"]),
        ("I7", "of attempt 2 was ended by attempts [1]", ["update tasks set attempt = 2 where kind = 'nothing'"]),
        ("I18", "were read, its row says up to 1", ["update conversations set promoted_turn = 1"]),
        ("I18", "the turns [[1, 1], [3, 3]] were read", [
            "update conversations set promoted_turn = 3",
            "insert into promotions(conversation_id, from_turn, to_turn, kept, how)"
            " select id, n, n, 0, 'rules' from conversations, unnest(array[1, 3]) as n",
        ]),
        ("I18", "turn 1 will be read by nobody", ["update conversations set idle_since = null"]),
        ("I18", "comes from turn 1 of", [
            "insert into memories(id, no, tenant_id, user_id, type, text, hash, confidence, trust, source)"
            " select gen_random_uuid(), 1, tenant_id, user_id, 'fact', 'x', 'x', 1, 'user', 'page' from conversations",
            "insert into memory_sources(memory_id, source, conversation_id, turn_no)"
            " select m.id, 'message', c.id, 1 from memories m, conversations c",
        ]),
        ("I18", "is several tasks", [
            "alter table tasks drop constraint tasks_idem_key_key",
            "update tasks set kind = 'promote', idem_key = 'promote:x:1' where kind in ('nothing', 'effect')",
        ]),
        ("I8", "outside 7 was done", ["update tasks set result = '{\"effect\": 8}' where kind = 'effect'"]),
        ("I8", "which is no task's", ["update tasks set kind = 'other' where kind = 'effect'"]),
        ("I8", "is intent", [
            "insert into steps(task_id, step_no, tenant_id, user_id, kind, name, idem_key, state, attempt, input_hash)"
            " select id, 1, tenant_id, user_id, 'model', '', 'k', 'intent', 1, '' from tasks where kind = 'nothing'",
        ]),
        ("I10", "dead after 2 failures and 0 crashes", [
            "update tasks set state = 'dead', fail_count = 2 where kind = 'nothing'",
        ]),
        ("I13", "nothing", ["update tasks set crash_count = 1 where kind = 'nothing'"]),
        ("I11", "1 were needed", ["update failovers set evidence = evidence - 'voters' where epoch = 1"]),
        ("I11", "2 were needed", ["update failovers set evidence = evidence || '{\"quorum\": 2}' where epoch = 1"]),
        ("I11", "voted against itself", ["update failovers set evidence = evidence || '{\"voters\": [\"agent-9\"]}'"]),
        ("I11", "no reason", ["update failovers set sole = true, evidence = evidence - 'reason' where epoch = 1"]),
        ("I11", "kind", ["update failovers set kind = 'mood' where epoch = 1"]),
        ("I13", "after 1 failures", ["update tasks set fail_count = 1 where turn_no = 1"]),
        ("I13", "ended as failed", ["update tasks set state = 'failed' where turn_no = 1"]),
        ("I14", "are numbered [1, 3]", ["update tasks set turn_no = 3 where turn_no = 2"]),
        ("I16", "the term in force 2 of agent-5", ["update cluster_epoch set primary_id = 'agent-5'"]),
        ("I16", "nobody takes it", ["update tasks set state = 'queued', due_at = now() - interval '1 minute'"]),
        ("I16", "runs on a dead boot", [
            "update boots set dead_at = now()",
            "update tasks set state = 'running', owner_boot = (select boot from boots) where turn_no = 1",
        ]),
    ],
)  # fmt: skip
async def test_a_violation_in_the_rows_is_found(world: World, invariant: str, what: str, statements: list[str]) -> None:
    await world.sql(*statements)
    await world.says(invariant, what)


async def test_a_class_that_starves_under_overload_is_found(world: World) -> None:
    await world.sql(
        "insert into tasks select (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(),"
        " 'idem_key', n, 'priority', case when n between 5 and 254 then 'high' when n between 255 and 504 then 'normal'"
        " else 'low' end))).* from tasks t, generate_series(1, 604) n where t.kind = 'nothing'",
        "insert into task_history(id, attempt, state, priority, at)"
        " select id, 1, 'running', priority, now() + make_interval(secs => idem_key::int) from tasks"
        " where kind = 'nothing' and length(idem_key) < 4",
    )
    world.facts.published = [
        str(it["id"]) for it in await world.facts.rows("select id from tasks where kind = 'nothing'")
    ]
    await world.says("I15", "1.6% of 255 claims")


async def test_what_is_left_in_streams_is_found(world: World) -> None:
    data, keys = world.redis.data, world.redis.keys
    task = world.facts.published[0]
    await data.hset(keys.tasks_queued, task, "1-1")
    await world.says("I9", f"a mark tells of task {task}, which does not wait")
    await data.xadd(keys.tasks("normal"), {"t": task})
    await world.says("I9", f"an entry in {keys.tasks('normal')} tells of task {task}, which does not wait")
    await data.xreadgroup("agents", world.agent.boot, {keys.tasks("normal"): ">"})
    await data.xtrim(keys.tasks("normal"), maxlen=0)
    await world.says("I9", "1 of 0 entries are pending")
    await data.delete(keys.boot(world.agent.boot))
    await world.says("I9", f"boot {world.agent.boot} is gone and still reads")


async def test_an_innocent_that_died_and_a_culprit_that_lives_are_found(world: World) -> None:
    guilty, innocent = world.facts.published
    world.facts.culprits = {guilty}
    await world.sql("update tasks set state = 'dead', crash_count = 3 where kind = 'nothing'")
    await world.says("I10", f"innocent task {innocent} is dead")
    await world.says("I10", f"culprit {guilty} is not dead")


async def test_two_that_might_act_at_once_are_found_unless_a_connection_broke(world: World) -> None:
    world.facts.overlaps = {(Seat("agent-9", 1), Seat("agent-1", 2))}
    await world.says("I3", "might act at once, elected by lease")
    await world.sql("update failovers set kind = 'eof' where epoch = 2")
    assert await audit(world.facts) == []


async def test_a_copy_of_the_epoch_that_is_ahead_is_found(world: World) -> None:
    await world.redis.data.set(world.redis.keys.epoch, 7)
    await world.says("I4", "Redis says epoch 7, PostgreSQL 2")


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("is starting", {"status": Status.STARTING}),
        ("cannot vote", {"can_vote": False}),
        ("is known with keeper 1", {"keeper_pid": 1}),
        ("does not know epoch 2", {"config_epoch": 1}),
        ("[] say that they are primary", {"role": Role.SECONDARY}),
        ("the gateway sends people to", {"port": 9000}),
    ],
)
async def test_an_agent_that_is_not_as_it_should_be_is_found(world: World, what: str, changes: Any) -> None:
    await world.beat(msgspec.structs.replace(world.agent, **changes))
    await world.says("I16", what)


async def test_a_member_too_many_and_one_too_few_are_found(world: World) -> None:
    await world.beat(Agent("agent-2", Role.PRIMARY, Status.ACTIVE, str(uuid4()), can_vote=True, config_epoch=2))
    await world.says("I16", "agent-2 is in the registry and has ended")
    await world.says("I16", "['agent-1', 'agent-2'] say that they are primary")
    world.facts.keepers = {"agent-1": os.getpid(), "agent-3": 1}
    await world.says("I16", "agent-3 is not in the registry")


async def test_a_seat_that_nobody_holds_is_found(world: World) -> None:
    await world.redis.data.delete(world.redis.keys.primary)
    await world.says("I16", "nobody holds the lease")


async def test_a_secret_is_found_wherever_it_is_written(world: World, tmp_path: Path) -> None:
    facts, secret = world.facts, uuid4().hex
    facts.secrets = {"a_password": secret}
    log = tmp_path / "agent-1.log"
    log.write_text(f"the password is {secret}, do not tell")
    facts.logs = {"agent-1": log}
    await world.says("I17", "a_password stands in the log of agent-1")
    await world.redis.data.xadd(world.redis.keys.events("c"), {"d": f"say {secret}"})
    await world.says("I17", "a_password stands in stream")
    waits = "import sys; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", waits, secret], env={"PASSWORD": secret}, stdin=subprocess.PIPE
    )  # fmt: skip
    try:
        facts.programs = {"agent-1": process.pid}
        await world.says("I17", "a_password stands in the environ of agent-1")
        await world.says("I17", "a_password stands in the cmdline of agent-1")
    finally:
        await asyncio.to_thread(process.communicate)
