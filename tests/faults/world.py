"""A healthy little history for the auditor's own tests, in real stores: two elections, answered turns, done tasks."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg

from appliance.core.election import Election
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import Agent, Ended, Role, Status, TaskState, User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.task_batches import Done, TaskBatches, Wanted
from appliance.core.task_ledger import Answer, TaskLedger
from appliance.core.task_stream import TaskStream
from tests.faults.auditor import audit
from tests.faults.chat import Acknowledged
from tests.faults.facts import HISTORY, Facts
from tests.faults.fenced import PREPARED
from tests.stores import Stores

LISTED = "server 127.0.0.1:8001 max_fails=1;\n"
EVIDENCE = {"kind": "lease", "reason": "made up", "voters": ["agent-2"], "quorum": 1}
DEED = 7
"""The number of what a service outside did for the task of kind `effect`."""


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
        await self.work()

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

    async def work(self) -> None:
        """Let two tasks be put up, told of, taken and done."""
        batches, stream = TaskBatches(self.postgres, timeout_s=60, max_queued=10), TaskStream(self.redis)
        row = await self.postgres.row("ensure_user", tenant="default", name="ada", role="operator")
        assert row is not None
        generation, boot = await stream.generation(), self.agent.boot
        wanted = [Wanted("effect"), Wanted("nothing")]
        published = await batches.submit(User(str(row["id"]), "ada"), wanted, generation=generation, share=9)
        await stream.enqueue(generation, published.told)
        entries = await stream.fetch(boot, 9)
        tasks = (await batches.claim(boot, [it.task for it in entries])).tasks
        await stream.drop(entries)
        done = Ended(TaskState.DONE, {"effect": DEED})
        await batches.commit(boot, generation, [Done(task, done) for task in tasks])
        self.facts.published = published.ids
        self.facts.effects = {published.ids[0]: DEED}

    async def sql(self, *statements: str) -> None:
        for text in statements:
            await self.facts.sql.execute(text.encode())

    async def says(self, invariant: str, what: str) -> None:
        """Check that the audit finds this violation."""
        found = await audit(self.facts)
        assert any(it.startswith(f"{invariant}: ") and what in it for it in found), found


@asynccontextmanager
async def healthy_world(stores: Stores) -> AsyncIterator[World]:
    """Give a world in a database of its own, in which all is well."""
    settings = await stores.with_own_database(redis_key_prefix=f"t{uuid4().hex[:6]}:")
    redis, postgres = Redis(settings), Postgres(settings, application="test")
    await postgres.open()
    async with await psycopg.AsyncConnection.connect(
        settings.postgres_url, **connection_options(settings, "test")
    ) as sql:
        await sql.execute(PREPARED.encode())
        await sql.execute(HISTORY.encode())
        world = World(redis, postgres, Facts(sql=sql, redis=redis, drained=True, listed=lambda: LISTED))
        world.facts.keepers = {"agent-1": os.getpid()}
        await world.live()
        yield world
    await postgres.aclose()
    await redis.aclose()
