"""Conversations that rest are read for memories: which ranges are due, what is kept of them, once whatever dies."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from agent_image.runner.llm import ChatMessage
from agent_image.runner.memory.extracting import Extracting
from agent_image.runner.memory.promotion import KIND, Promoter, Promoting
from agent_image.runner.memory.remembering import Remembering
from agent_image.runner.tasks.board import Board
from agent_image.runner.tasks.teller import Teller
from appliance.core.memory.deduplication import Radii
from appliance.core.memory.promotions import MOST_TURNS, Promotions
from appliance.core.records import Task, User
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.task_batches import TaskBatches
from appliance.core.task_ledger import TaskLedger
from appliance.core.task_stream import TaskStream
from tests.fakes.models import FakeProvider
from tests.integration.conftest import MakeEmbedder
from tests.memories import Rememberer
from tests.resting import rest
from tests.runners import running_runners
from tests.stores import Stores
from tests.waiting import wait_until


class Nobody:
    """No model of use."""

    async def ask(self, messages: Sequence[ChatMessage], key: str) -> str | None:
        return None


class Reading:
    """Promotion without runners: the test is the primary, and the agent that reads."""

    def __init__(self, config: Settings, people: Rememberer, remembering: Remembering) -> None:
        self.people = people
        self.redis = Redis(config)
        self.promotions = Promotions(people.postgres, delay_s=0)
        batches = TaskBatches(people.postgres, timeout_s=60, max_queued=2)
        teller = Teller(self.redis, TaskStream(self.redis), lambda: None)
        self.promoter = Promoter(self.promotions, Board(self.redis, batches, teller, lambda: 20))
        self.handler = Promoting(self.promotions, remembering, Extracting(Nobody()), "agent-1")

    async def tasks(self) -> list[dict[str, Any]]:
        return await self.people.sql("select * from tasks where kind = %s order by idem_key", KIND)

    async def read_all(self) -> list[str]:
        """Publish what is due and read it; return the outcomes."""
        known = {row["id"] for row in await self.tasks()}
        await self.promoter.publish_due(1)
        return [(await self.read(row))["outcome"] for row in await self.tasks() if row["id"] not in known]

    async def read(self, row: dict[str, Any]) -> dict[str, Any]:
        return await self.handler(Task(str(row["id"]), KIND, str(row["user_id"]), 1, row["payload"]))

    async def living(self) -> list[str]:
        return sorted(it.text for it in await self.people.store.listing(self.people.ada, limit=1000))


@pytest.fixture
async def reading(config: Settings, people: Rememberer, make: MakeEmbedder) -> Reading:
    return Reading(config, people, Remembering(people.store, make(), Radii(1.0, 2.0)))


async def unfinished(people: Rememberer, conversation: str, no: int) -> None:
    task = str(uuid4())
    await people.sql(
        "insert into tasks(id, tenant_id, user_id, conversation_id, kind, state, turn_no, idem_key)"
        " values (%s, 'default', %s, %s, 'conversation', 'queued', %s, %s)",
        task, people.ada.id, conversation, no, task,
    )  # fmt: skip


async def test_what_was_said_becomes_memories_that_name_their_message(reading: Reading, people: Rememberer) -> None:
    conversation, messages = await people.talk("My dog is called Bruno. How are you?", "I prefer short answers.")

    assert await reading.read_all() == ["Read."]

    found = sorted(await people.store.listing(people.ada), key=lambda it: it.no)
    assert [(it.text, it.type, it.trust) for it in found] == [
        ("My dog is called Bruno.", "fact", "user"), ("I prefer short answers.", "preference", "user"),
    ]  # fmt: skip
    assert [(it.origin.conversation_id, it.origin.message_id, it.origin.turn_no) for it in found] == [
        (conversation, messages[0], 1), (conversation, messages[1], 2),
    ]  # fmt: skip


async def test_a_range_is_published_once_however_many_primaries_see_it_due(
    reading: Reading, people: Rememberer
) -> None:
    await people.talk("I prefer short answers.")

    await asyncio.gather(*(reading.promoter.publish_due(epoch) for epoch in range(5)))

    assert len(await reading.tasks()) == 1


async def test_a_range_read_twice_is_kept_once(reading: Reading, people: Rememberer) -> None:
    await people.talk("I prefer short answers.")
    await reading.read_all()
    [task] = await reading.tasks()

    assert (await reading.read(task))["outcome"] == "These turns were read already."
    assert [it.sources for it in await people.store.listing(people.ada)] == [1]


async def test_two_who_read_a_range_at_the_same_moment_keep_it_once(reading: Reading, people: Rememberer) -> None:
    await people.talk("I prefer short answers.", "I live in Rome.")
    await reading.promoter.publish_due(1)
    [task] = await reading.tasks()

    results = await asyncio.gather(*(reading.read(task) for _ in range(4)))

    assert sorted(it["outcome"] for it in results) == ["Read."] + ["These turns were read already."] * 3
    assert await reading.living() == ["I live in Rome.", "I prefer short answers."]


async def test_what_is_said_later_is_the_next_range(reading: Reading, people: Rememberer) -> None:
    conversation, _ = await people.talk("I live in Rome.")
    await reading.read_all()
    await people.turn(people.ada, conversation, 2, "I moved to Oslo.")

    assert await reading.read_all() == ["Read."]

    assert await reading.living() == ["I moved to Oslo."]
    ranges = await people.sql("select from_turn, to_turn, how from promotions order by from_turn")
    assert ranges == [{"from_turn": 1, "to_turn": 1, "how": "rules"}, {"from_turn": 2, "to_turn": 2, "how": "rules"}]


async def test_turns_behind_one_that_has_not_ended_wait(reading: Reading, people: Rememberer) -> None:
    conversation, _ = await people.talk("I live in Rome.")
    await unfinished(people, conversation, 2)
    await people.turn(people.ada, conversation, 3, "I moved to Oslo.")

    [due] = await reading.promotions.due(10)

    assert (due.from_turn, due.to_turn) == (1, 1)


async def test_nothing_is_due_whose_first_turn_has_not_ended(reading: Reading, people: Rememberer) -> None:
    conversation, _ = await people.talk()
    await unfinished(people, conversation, 1)
    await people.sql("update conversations set idle_since = now() where id = %s", conversation)

    assert await reading.promotions.due(10) == []


async def test_a_long_conversation_is_read_in_parts(reading: Reading, people: Rememberer) -> None:
    conversation, _ = await people.talk()
    for no in range(1, MOST_TURNS + 4):
        await people.turn(people.ada, conversation, no, f"We use library{no} for service{no}.")

    assert await reading.read_all() == ["Read."]
    assert await reading.read_all() == ["Read."]

    assert len(await reading.living()) == MOST_TURNS + 3
    assert await reading.promotions.lag_s() == 0


async def test_what_holds_nothing_is_stamped_and_not_read_again(reading: Reading, people: Rememberer) -> None:
    await people.talk("What is the time?", "/remember I like tea.")

    assert await reading.read_all() == ["Nothing in it to remember."]
    assert await reading.read_all() == []
    assert await reading.living() == []


async def test_a_conversation_that_was_deleted_meanwhile_leaves_nothing(reading: Reading, people: Rememberer) -> None:
    conversation, _ = await people.talk("I live in Rome.")
    await reading.promoter.publish_due(1)
    [task] = await reading.tasks()
    await people.sql("update conversations set deleted_at = now() where id = %s", conversation)

    assert (await reading.read(task))["outcome"] == "The conversation was deleted."
    assert await reading.living() == []


async def test_a_task_reads_no_other_persons_conversation(reading: Reading, people: Rememberer) -> None:
    await people.talk("I live in Rome.", user=people.bob)
    await reading.promoter.publish_due(1)
    [task] = await reading.tasks()

    stolen = await reading.read(task | {"user_id": people.ada.id})

    assert stolen["outcome"] == "The conversation was deleted."
    assert await reading.living() == []


async def test_what_was_erased_is_not_read_back(reading: Reading, people: Rememberer) -> None:
    await people.talk("I live in Rome.")
    await reading.read_all()
    await people.store.erase(people.ada, (await people.store.get(people.ada, 1)).id, by="test")
    await people.talk("I live in Rome!")

    assert await reading.read_all() == ["Read."]
    assert await reading.living() == []


async def test_who_has_too_much_waiting_holds_up_nobody_else(reading: Reading, people: Rememberer) -> None:
    first, second = sorted((people.ada, people.bob), key=lambda it: it.id)
    for _ in range(2):
        await people.talk("I live in Rome.", user=first)
    await reading.promoter.publish_due(1)
    await people.talk("I live in Rome.", user=first)
    await people.talk("I live in Rome.", user=second)

    await reading.promoter.publish_due(1)

    assert [str(row["user_id"]) for row in await reading.tasks()].count(first.id) == 2
    assert second.id in {str(row["user_id"]) for row in await reading.tasks()}


async def test_the_lag_is_how_long_the_oldest_has_been_due(people: Rememberer) -> None:
    conversation, _ = await people.talk("I live in Rome.")
    await people.sql("update conversations set idle_since = now() - interval '1000 s' where id = %s", conversation)

    assert 699 < await Promotions(people.postgres, delay_s=300).lag_s() < 760
    assert await Promotions(people.postgres, delay_s=5000).lag_s() == 0


async def test_the_primary_looks_for_what_rests_and_only_then(people: Rememberer) -> None:
    ledger = TaskLedger(people.postgres, turn_timeout_s=60, max_queued=10, promote_after_s=0.0)
    patient = TaskLedger(people.postgres, turn_timeout_s=60, max_queued=10, promote_after_s=60.0)
    assert not (await ledger.sweeps_due(0))["promotions"]

    await people.talk("I live in Rome.")

    assert (await ledger.sweeps_due(0))["promotions"]
    assert not (await patient.sweeps_due(0))["promotions"]


@pytest.mark.timeout(180)
async def test_what_a_person_says_is_known_after_a_rest_although_its_reader_dies(
    stores: Stores, provider: FakeProvider
) -> None:
    """Agent 2 dies after it has kept a range and before it could say so: agent 1 finds it read."""
    more = {"CLUSTER_MEMORY_PROMOTION_DELAY": "1", "MEMORY_EXTRACTION": "rules"}
    async with running_runners(stores, provider, 1, **more) as runners, runners.sql() as sql:
        runners.start_agent("agent-2", NEXUS_FAILPOINTS="after_promotion_kept:kill")
        await runners.promote("agent-1")
        people = await Rememberer(runners.settings, runners.postgres).open()
        for no in range(20):
            await rest(sql, people.ada.name, f"We use library{no} for service{no}.", "What is the time?")

        async def all_read() -> bool:
            cursor = await sql.execute(b"select count(*) as n from conversations where idle_since is not null")
            row: Any = await cursor.fetchone()
            return not row["n"]

        await wait_until(all_read, within_s=120, of="the end of reading")

        found = await people.store.listing(people.ada)
        assert sorted(it.text for it in found) == sorted(f"We use library{no} for service{no}." for no in range(20))
        assert [it.sources for it in found] == [1] * 20
        ranges = await people.sql("select count(*) as n from promotions where (from_turn, to_turn) = (1, 2)")
        assert ranges == [{"n": 20}]


async def test_a_reader_belongs_to_its_person(reading: Reading, people: Rememberer) -> None:
    conversation, _ = await people.talk("I live in Rome.")

    assert await reading.promotions.said(people.bob, conversation, 1, 1) is None
    other_tenant = User(id=people.ada.id, name="", tenant_id="other")
    assert await reading.promotions.said(other_tenant, conversation, 1, 1) is None
