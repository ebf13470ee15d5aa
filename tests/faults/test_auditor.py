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
import psycopg
import pytest

from appliance.core.election import Election
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import Agent, Role, Status, TaskState, User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.task_ledger import Answer, TaskLedger
from tests.faults import auditor
from tests.faults.auditor import CHECKS, Facts, audit
from tests.faults.chat import Acknowledged
from tests.faults.fenced import PREPARED
from tests.faults.seats import Seat
from tests.stores import Stores

LISTED = "server 127.0.0.1:8001 max_fails=1;\n"
EVIDENCE = {"kind": "lease", "reason": "made up", "voters": ["agent-2"], "quorum": 1}


class World:
    """A healthy little history: two elections, one agent left, two answered turns."""

    def __init__(self, redis: Redis, postgres: Postgres, facts: Facts) -> None:
        self.redis = redis
        self.postgres = postgres
        self.registry = Registry(redis)
        self.election = Election(redis, postgres)
        self.ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=10)
        self.facts = facts
        self.agent = Agent(
            "agent-1", Role.PRIMARY, Status.ACTIVE, str(uuid4()), "127.0.0.1", 8001, keeper_pid=os.getpid(),
            config_epoch=2, can_vote=True,
        )  # fmt: skip

    async def live(self) -> None:
        await self.redis.load_library()
        await self.registry.initialise(uuid4().hex, 0)
        await self.elect("agent-9", str(uuid4()))
        await self.elect(self.agent.id, self.agent.boot)
        await self.beat(self.agent)
        await self.talk()

    async def elect(self, agent: str, boot: str, **evidence: object) -> None:
        voted = (await self.election.current()).number
        epoch = await self.election.elect(agent, boot, voted=voted, evidence=EVIDENCE | evidence)
        assert epoch is not None
        await self.election.install(agent, boot, epoch)
        await self.redis.data.persist(self.redis.keys.primary)

    async def beat(self, agent: Agent) -> None:
        """Beat once and for ever."""
        await self.registry.beat(agent)
        await self.redis.data.persist(self.redis.keys.boot(agent.boot))

    async def talk(self) -> None:
        row = await self.postgres.row("ensure_user", tenant="default", name="ada", role="operator")
        assert row is not None
        user, conversation, boot = User(str(row["id"]), "ada"), str(uuid4()), self.agent.boot
        await self.ledger.register_boot(boot, self.agent.id)
        for text in ("first", "second"):
            accepted = await self.ledger.accept(user, conversation, text, client_id=text, boot=boot, create=True)
            answer = Answer(TaskState.DONE, "answer", meta={"attempt": 1})
            await self.ledger.end(accepted.turn, boot, answer, agent=self.agent.id)
            await self.ledger.announced(accepted.turn.id, 1, TaskState.DONE)
            asked = Acknowledged(conversation, accepted.turn.id, accepted.message_id, text)
            self.facts.acknowledged = [*self.facts.acknowledged, asked]

    async def sql(self, *statements: str) -> None:
        for text in statements:
            await self.facts.sql.execute(text.encode())

    async def says(self, invariant: str, what: str) -> None:
        """Check that the audit finds this violation."""
        found = await audit(self.facts)
        assert any(it.startswith(f"{invariant}: ") and what in it for it in found), found


@pytest.fixture
async def world(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    for name in ("ENDS_S", "CONVERGES_S", "QUIET_S"):
        monkeypatch.setattr(auditor, name, 0.2)
    settings = await stores.with_own_database(redis_key_prefix=f"t{uuid4().hex[:6]}:")
    redis, postgres = Redis(settings), Postgres(settings, application="test")
    await postgres.open()
    async with await psycopg.AsyncConnection.connect(
        settings.postgres_url, **connection_options(settings, "test")
    ) as sql:
        await sql.execute(PREPARED.encode())
        world = World(redis, postgres, Facts(sql=sql, redis=redis, drained=True, listed=lambda: LISTED))
        world.facts.keepers = {"agent-1": os.getpid()}
        await world.live()
        yield world
    await postgres.aclose()
    await redis.aclose()


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
