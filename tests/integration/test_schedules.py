"""Rows of reminders and jobs on a real PostgreSQL: accepted once, fired once, by the primary in force."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from agent_image.runner.schedules.firing import Firer, decide
from agent_image.runner.schedules.wishes import job
from appliance.core.errors import BadInput, Conflict, NotFound, Overloaded, StaleEpoch
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import TaskState, User
from appliance.core.schedules import MAX_ACTIVE, Due, Schedule, Schedules, Wish
from appliance.core.settings import Settings
from appliance.core.task_ledger import Answer, TaskLedger
from tests.locks import waits_for_a_lock
from tests.waiting import wait_until

EPOCH = 1
LONG_AGO = timedelta(minutes=10)


class Books:
    """A person with a conversation, and a primary of epoch 1."""

    def __init__(self, config: Settings, postgres: Postgres) -> None:
        self.config, self.postgres = config, postgres
        self.rows = Schedules(postgres, time_zone="UTC")
        self.ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=1000)
        self.boot, self.talk = str(uuid4()), str(uuid4())
        self.ada = User(id="", name="ada")
        self.told: list[tuple[str, str]] = []
        """Ids of the turns that were said to have been made, and of their messages."""

    async def open(self) -> "Books":
        self.ada = await self.person("ada")
        await self.ledger.register_boot(self.boot, "agent-p")
        await self.sql("update cluster_epoch set epoch = 1")
        await self.begin(self.ada, self.talk)
        return self

    async def person(self, name: str) -> User:
        row = await self.postgres.row("ensure_user", tenant="default", name=name, role="operator")
        assert row is not None
        return User(id=str(row["id"]), name=name)

    async def begin(self, user: User, conversation: str) -> None:
        await self.postgres.rows(
            "create_conversation", tenant="default", user=user.id, conversation=conversation, title="", trace=""
        )

    async def sql(self, text: str, *values: object) -> list[dict[str, Any]]:
        """Do what no statement of the product does."""
        options = connection_options(self.config, "test")
        async with await psycopg.AsyncConnection.connect(self.config.postgres_url, **options) as connection:
            cursor = await connection.execute(text.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def remind(self, ago: timedelta = LONG_AGO, text: str = "call Ada") -> Schedule:
        return await self.make(Wish(text, "UTC", datetime.now(UTC) - ago))

    async def every(self, cron: str, ago: timedelta = LONG_AGO, **more: Any) -> Schedule:
        now = datetime.now(UTC) - ago
        return await self.make(job("sum up", cron, "UTC", missed=more.get("missed", "once"), now=now))

    async def make(self, wish: Wish) -> Schedule:
        return await self.rows.create(self.ada, self.talk, wish, id_=str(uuid4()))

    async def fire(self) -> None:
        await self.firer().fire_due(EPOCH)

    def firer(self) -> Firer:
        async def tell(turn: str, message: str) -> None:
            self.told.append((turn, message))

        return Firer(self.rows, self.boot, tell)

    async def only_due(self) -> Due:
        (due,) = await self.rows.due(10)
        return due

    async def turns(self) -> list[dict[str, Any]]:
        return await self.sql(
            "select t.id, t.state, t.turn_no, t.role, t.payload, t.idem_key, m.text, m.meta from tasks t"
            " join messages m on m.task_id = t.id and m.role = 'user' where t.conversation_id = %s order by t.turn_no",
            self.talk,
        )


@pytest.fixture
async def books(config: Settings, postgres: Postgres) -> Books:
    return await Books(config, postgres).open()


async def test_a_due_reminder_becomes_a_turn_that_has_its_answer_and_is_over(books: Books) -> None:
    made = await books.remind()
    await books.fire()
    (turn,) = await books.turns()
    assert (turn["state"], turn["turn_no"], turn["payload"]) == ("queued", 1, {"answer": "call Ada"})
    assert turn["text"].startswith("Reminder 1: ")
    assert turn["text"].endswith("(UTC), 10 minutes late")
    assert turn["idem_key"].startswith(f"schedule:{made.id}:")
    assert await books.rows.listing(books.ada) == []
    (claimed,) = await books.ledger.claim(books.boot, 5)
    assert claimed.ready == "call Ada"


async def test_what_is_not_due_is_not_fired(books: Books) -> None:
    await books.remind(ago=-timedelta(hours=1))
    await books.fire()
    assert await books.turns() == []


async def test_a_job_that_missed_runs_has_one_late_one_and_goes_on_from_now(books: Books) -> None:
    await books.every("* * * * *")
    await books.fire()
    await books.fire()
    (turn,) = await books.turns()
    assert (turn["text"], turn["payload"]) == ("sum up", {})
    assert turn["meta"]["note"].endswith(" minutes late")
    (after,) = await books.rows.listing(books.ada)
    assert after.next_at is not None
    assert timedelta(0) < after.next_at - datetime.now(UTC) <= timedelta(minutes=1)


async def test_a_job_that_skips_missed_runs_has_none_and_goes_on_from_now(books: Books) -> None:
    await books.every("* * * * *", missed="skip")
    await books.fire()
    assert await books.turns() == []
    (after,) = await books.rows.listing(books.ada)
    assert after.next_at is not None
    assert after.next_at > datetime.now(UTC)


async def test_a_job_that_skips_still_runs_when_it_is_hardly_late(books: Books) -> None:
    now = datetime.now(UTC)
    await books.make(Wish("sum up", "UTC", now - timedelta(seconds=40), "0 0 1 1 *", "skip"))
    await books.fire()
    assert len(await books.turns()) == 1


async def test_an_instant_is_fired_once_however_many_primaries_saw_it_due(books: Books) -> None:
    await books.every("* * * * *")
    due = await books.only_due()
    both = await asyncio.gather(*(books.rows.fire(EPOCH, books.boot, due, decide(due)) for _ in range(2)))
    assert sorted(it.outcome for it in both) == ["fired", "overtaken"]
    planned = await books.rows.listing(books.ada)
    await books.sql("update cluster_epoch set epoch = 2")
    slow = msgspec.structs.replace(due, now=due.now + LONG_AGO)
    assert (await books.rows.fire(2, books.boot, slow, decide(slow))).outcome == "overtaken"
    assert (len(await books.turns()), await books.rows.listing(books.ada)) == (1, planned)


async def test_an_instant_that_comes_again_by_hand_is_not_fired_again(books: Books) -> None:
    await books.every("* * * * *")
    due = await books.only_due()
    for _ in range(2):
        await books.fire()
        await books.sql("update tasks set state = 'done'")
        await books.sql("update schedules set next_at = %s", due.at)
    await books.fire()
    assert (len(await books.turns()), len(books.told)) == (1, 1)


async def test_a_deposed_primary_fires_nothing_and_that_is_noted(books: Books) -> None:
    await books.remind()
    await books.sql("update cluster_epoch set epoch = 2")
    with pytest.raises(StaleEpoch):
        await books.fire()
    assert await books.turns() == []
    (refused,) = await books.sql("select what, epoch from refusals")
    assert refused == {"what": "fire_schedule", "epoch": EPOCH}
    await books.firer().fire_due(2)
    assert len(await books.turns()) == 1


async def test_a_run_waits_for_the_turn_before_it(books: Books) -> None:
    running = await books.ledger.accept(books.ada, books.talk, "hello", client_id="1", boot=books.boot)
    await books.remind()
    await books.fire()
    _, waiting = await books.turns()
    assert [turn["state"] for turn in await books.turns()] == ["running", "waiting"]
    assert [turn for turn, _ in books.told] == [str(waiting["id"])], "open pages may be told of it"
    await books.ledger.end(running.turn, books.boot, Answer(TaskState.DONE, "hi"), agent="agent-p")
    assert [turn["state"] for turn in await books.turns()] == ["done", "queued"]


async def test_a_job_never_runs_beside_itself(books: Books) -> None:
    await books.every("* * * * *")
    await books.fire()
    await books.sql("update schedules set next_at = next_at - interval '5 minutes'")
    assert await books.rows.due(10) == []
    assert not (await books.ledger.sweeps_due(EPOCH))["schedules"]
    (claimed,) = await books.ledger.claim(books.boot, 5)
    await books.ledger.end(claimed, books.boot, Answer(TaskState.DONE, "summed"), agent="agent-p")
    assert (await books.ledger.sweeps_due(EPOCH))["schedules"]
    await books.fire()
    assert [turn["state"] for turn in await books.turns()] == ["done", "queued"]


async def test_what_was_cancelled_is_not_fired_even_by_who_saw_it_due_before(books: Books) -> None:
    made = await books.remind()
    due = await books.only_due()
    assert (await books.rows.cancel(books.ada, no=made.no)).state == "cancelled"
    assert (await books.rows.fire(EPOCH, books.boot, due, decide(due))).outcome == "overtaken"
    assert (await books.rows.due(10), await books.turns()) == ([], [])


async def test_cancelling_again_changes_nothing_and_one_that_came_stays_done(books: Books) -> None:
    first, second = await books.remind(), await books.remind(ago=-LONG_AGO)
    await books.fire()
    assert (await books.rows.cancel(books.ada, no=first.no)).state == "done"
    for _ in range(2):
        assert (await books.rows.cancel(books.ada, id_=second.id)).state == "cancelled"


async def test_nobody_else_sees_cancels_or_makes_one_in_a_persons_conversation(books: Books) -> None:
    made, eve = await books.remind(), await books.person("eve")
    assert await books.rows.listing(eve) == []
    for wanted in ({"no": made.no}, {"id_": made.id}):
        with pytest.raises(NotFound):
            await books.rows.cancel(eve, **wanted)
    with pytest.raises(NotFound):
        await books.rows.create(eve, books.talk, Wish("x", "UTC", datetime.now(UTC)), id_=str(uuid4()))
    await books.begin(eve, other := str(uuid4()))
    with pytest.raises(Conflict):
        await books.rows.create(eve, other, Wish("x", "UTC", datetime.now(UTC)), id_=made.id)
    assert [it.id for it in await books.rows.listing(books.ada)] == [made.id]


async def test_the_same_id_is_one_and_numbers_are_never_used_again(books: Books) -> None:
    wish, id_ = Wish("x", "UTC", datetime.now(UTC) + LONG_AGO), str(uuid4())
    twice = [await books.rows.create(books.ada, books.talk, wish, id_=id_) for _ in range(2)]
    assert twice[0] == twice[1]
    await books.rows.cancel(books.ada, id_=id_)
    many = await asyncio.gather(*(books.make(wish) for _ in range(5)))
    assert sorted(it.no for it in many) == [2, 3, 4, 5, 6]


async def test_one_that_is_made_beside_another_has_the_number_after_it(books: Books) -> None:
    made = "select no from create_schedule(%s, 'default', %s, %s, 'once', '', 'UTC', 'x', 'once', now(), '', 9)"
    options = connection_options(books.config, "test") | {"options": ""}
    opened = await psycopg.AsyncConnection.connect(books.config.postgres_url, **options)
    async with opened, opened.transaction():
        await opened.execute(made.encode(), (uuid4(), books.ada.id, books.talk))
        second = asyncio.create_task(books.remind())
        await wait_until(lambda: waits_for_a_lock(books.config), of="one that waits for the other's number")
    assert (await second).no == 2


async def test_a_person_has_so_many_and_no_more(books: Books) -> None:
    await books.sql(
        "insert into schedules(id, no, tenant_id, user_id, conversation_id, kind, cron, time_zone, text, missed,"
        " next_at, trace_id) select gen_random_uuid(), n, 'default', %s, %s, 'once', '', 'UTC', 'x', 'once',"
        " now() + interval '1 day', '' from generate_series(1, %s) n", books.ada.id, books.talk, MAX_ACTIVE,
    )  # fmt: skip
    with pytest.raises(Overloaded, match="`/reminders` lists them"):
        await books.remind()
    await books.rows.cancel(books.ada, no=1)
    assert (await books.remind()).no == MAX_ACTIVE + 1


async def test_those_of_a_deleted_conversation_are_neither_listed_nor_fired(books: Books) -> None:
    await books.remind()
    due = await books.only_due()
    await books.postgres.rows("delete_conversation", tenant="default", user=books.ada.id, conversation=books.talk)
    assert (await books.rows.listing(books.ada), await books.rows.due(10)) == ([], [])
    assert not (await books.ledger.sweeps_due(EPOCH))["schedules"]
    assert (await books.rows.fire(EPOCH, books.boot, due, decide(due))).outcome == "overtaken"
    assert await books.turns() == []


async def test_one_that_cannot_be_fired_here_holds_up_nobody_elses(books: Books) -> None:
    await books.every("* * * * *", ago=timedelta(hours=1))
    await books.remind()
    await books.sql("update schedules set time_zone = 'Atlantis/Capital'")
    with pytest.raises(BadInput):
        decide((await books.rows.due(1))[0])
    await books.fire()
    (turn,) = await books.turns()
    assert (turn["payload"], "(UTC)" in turn["text"]) == ({"answer": "call Ada"}, True)


async def test_a_job_may_ask_sub_agents_and_its_turn_is_then_for_the_primary(books: Books) -> None:
    now = datetime.now(UTC) - LONG_AGO
    await books.make(job("/multi Go\n- builder: x", "* * * * *", "UTC", missed="once", now=now))
    await books.fire()
    assert [turn["role"] for turn in await books.turns()] == ["orchestrate"]
