"""Lists of tasks on a real PostgreSQL: in order, filtered, by pages, fast with many rows; timelines."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.core.postgres import Postgres
from appliance.core.records import TaskState
from appliance.core.task_lists import TURNS, Filter, TaskLine, TaskLists
from tests.letters import Letters

MANY = 100_000
FILL = f"""
  insert into tasks(id, tenant_id, user_id, kind, priority, state, attempt, idem_key, due_at, state_at)
  select md5('t' || n)::uuid, 'default', (select id from users limit 1), case when n = 7 then 'rare' else 'thumb' end,
         (array['high', 'normal', 'low'])[n % 3 + 1],
         case when n > {MANY // 2} then 'queued' when n % 1000 = 0 then 'dead' else 'done' end, 1, 'k' || n, at, at
    from (select n, now() - make_interval(secs => {MANY} - n) as at from generate_series(1, {MANY}) n) it"""


@pytest.fixture
async def letters(postgres: Postgres) -> Letters:
    found = Letters(postgres)
    await found.open()
    await found.user("ada")
    return found


@pytest.fixture
def lists(postgres: Postgres) -> TaskLists:
    return TaskLists(postgres)


async def run(postgres: Postgres, statement: str) -> list[dict[str, object]]:
    async with postgres._pool.connection() as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


async def explained(postgres: Postgres, statement: str) -> dict[str, int]:
    """Explain a statement the second time it is run: the first also reads what PostgreSQL knows of the tables."""
    async with postgres._pool.connection() as connection:
        for _ in range(2):
            cursor = await connection.execute(f"explain (analyze, buffers, format json) {statement}".encode())
            row = await cursor.fetchone()
    assert row is not None
    return dict(row["QUERY PLAN"][0]["Plan"])


async def test_a_list_shows_what_waits_runs_and_ended_and_who_ran_it(letters: Letters, lists: TaskLists) -> None:
    first, second, third = await letters.put_up(3)
    await letters.end(await letters.take([first]))
    await letters.take([second])
    page = await lists.page(Filter())
    seen = {it.id: (str(it.state), it.agent, it.attempt) for it in page.tasks}
    assert seen == {first: ("done", "agent-1", 1), second: ("running", "agent-1", 1), third: ("queued", "", 0)}
    assert page.next is None
    assert next(it for it in page.tasks if it.id == third).about == '{"n": 2}'


async def test_each_filter_leaves_what_it_names(letters: Letters, lists: TaskLists) -> None:
    [high] = await letters.put_up(priority="high", kind="a")
    [bobs] = await letters.put_up(by="bob", kind="b")
    [dead] = await letters.dead(kind="a")
    turn = await letters.turn("why is it so?")

    async def found(**only: object) -> set[UUID]:
        return {it.id for it in (await lists.page(Filter(**only))).tasks}  # type: ignore[arg-type]

    assert await found(state="dead") == {dead}
    assert await found(kind="a") == {high, dead}
    assert await found(kind="a", state="queued") == {high}
    assert await found(priority="high") == {high}
    assert await found(person="bob") == {bobs}
    assert await found(conversation=turn.conversation_id) == {UUID(turn.id)}
    assert await found(kind="conversation", person="bob") == set()


@pytest.mark.parametrize(
    ("only", "why"),
    [
        (Filter(state="asleep"), "There is no state 'asleep'; there are: queued, running"),
        (Filter(priority="urgent"), "There is no priority 'urgent'; there are: high, normal, low"),
        (Filter(person="nobody"), "There is nobody called 'nobody'"),
        (Filter(conversation="x"), "'x' is not an id of a conversation"),
    ],
)
async def test_a_filter_that_cannot_be_says_what_there_is(lists: TaskLists, only: Filter, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await lists.page(only)


@pytest.mark.parametrize("after", ["x", "_", "2026-01-01_x", f"yesterday_{uuid4()}"])
async def test_a_cursor_that_is_none_is_refused(lists: TaskLists, after: str) -> None:
    with pytest.raises(BadInput, match="no cursor of ours"):
        await lists.page(Filter(), after)


@pytest.mark.parametrize("oldest", [False, True])
async def test_pages_follow_each_other_without_a_gap_and_without_a_double(
    letters: Letters, lists: TaskLists, oldest: bool
) -> None:
    waiting = await letters.put_up(7)  # all due at the same moment: only their ids tell them apart
    await letters.take(waiting[:2])
    await letters.dead(3)
    seen: list[TaskLine] = []
    after = ""
    while True:
        page = await lists.page(Filter(oldest=oldest), after, limit=3)
        seen += page.tasks
        if page.next is None:
            break
        after = page.next
    keys = [(it.at, it.id) for it in seen]
    assert len(seen) == len(set(keys)) == 10
    assert keys == sorted(keys, reverse=not oldest)


async def test_a_hundred_thousand_rows_are_not_looked_through(
    postgres: Postgres, letters: Letters, lists: TaskLists
) -> None:
    """Pages of 8 kB that a list touches: those of its own rows, not of the table's thousands."""
    await run(postgres, FILL)
    await run(postgres, "vacuum analyze tasks")
    everything = "select * from find_tasks('', '', '', null, null, false, null, null, 51)"
    waiting = everything.replace("('', '', '', null, null, false", "('queued', '', 'low', null, null, true")
    dead = everything.replace("('', ", "('dead', ")
    later = everything.replace("null, null, 51", f"now() - interval '{MANY // 4} seconds', '{uuid4()}', 51")
    for statement in (everything, waiting, dead, later):
        plan = await explained(postgres, statement)
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 400, statement
        assert plan["Actual Rows"] >= 50, statement
    assert [it.kind for it in (await lists.page(Filter(kind="rare"))).tasks] == ["rare"]
    numbers = {it.priority: it for it in await lists.priorities()}
    assert [numbers[it].waiting for it in ("high", "normal", "low")] == [10_000] * 3, "counted no further"
    assert sum(it.dead for it in numbers.values()) == MANY // 2000


async def test_numbers_tell_what_waits_now_what_later_and_for_how_long(letters: Letters, lists: TaskLists) -> None:
    ids = await letters.put_up(3, priority="high")
    await letters.put_up(2, priority="high", delay_s=600.0)
    await letters.take(ids[:1])
    await letters.dead(2)
    await run(letters.postgres, "update tasks set due_at = due_at - interval '90 seconds' where state = 'queued'")
    high, normal, low = await lists.priorities()
    assert (high.priority, high.waiting, high.later, high.running, high.dead) == ("high", 2, 2, 1, 0)
    assert 90 <= high.oldest_s < 120
    assert (normal.waiting, normal.dead, normal.oldest_s) == (0, 2, 0)
    assert (low.waiting, low.running, low.dead) == (0, 0, 0)


async def test_the_beginning_of_an_id_finds_its_task_unless_others_begin_so(letters: Letters, lists: TaskLists) -> None:
    [one] = await letters.put_up()
    assert await lists.find(str(one)) == await lists.find(one.hex[:8].upper()) == one
    for last in "01":
        await run(
            letters.postgres,
            f"""insert into tasks(id, tenant_id, user_id, kind, state, idem_key)
          select 'abcdef00-0000-0000-0000-00000000000{last}', 't', id, 'x', 'done', 'x{last}' from users limit 1""",
        )
    with pytest.raises(BadInput, match="Several tasks begin with abcdef"):
        await lists.find("abcdef")
    with pytest.raises(NotFound, match="There is no task ffff"):
        await lists.find("ffffffffffff")
    for typed in ("", "abc", "not an id", "0" * 33, "'; drop table tasks"):
        with pytest.raises(BadInput, match="4 to 32 hexadecimal digits"):
            await lists.find(typed)


async def test_the_life_of_a_task_is_told_from_its_rows(letters: Letters, lists: TaskLists) -> None:
    [id_] = await letters.dead(why="the disk is full")
    seen = await lists.one(id_)
    assert [it.kind for it in seen.moments] == [
        "published", "claimed", "failed", "claimed", "failed", "claimed", "failed", "ended",
    ]  # fmt: skip
    assert [it.why for it in seen.moments if it.kind == "failed"] == [f"the disk is full {n}" for n in (1, 2, 3)]
    assert {it.agent for it in seen.moments if it.kind == "claimed"} == {"agent-1"}
    assert (seen.line.agent, seen.payload, seen.result) == ("agent-1", {"n": 0}, None)


async def test_what_a_dead_agent_ran_says_who_ran_it_and_what_it_died_of(letters: Letters, lists: TaskLists) -> None:
    other = str(uuid4())
    await letters.turns.register_boot(other, "agent-2")
    [id_] = await letters.put_up()
    await letters.take([id_], other)
    await letters.turns.bury(other, "its keeper saw it die")
    await letters.turns.release(other, turns_only=False)
    [again] = await letters.take([id_])
    await letters.end([again])
    seen = await lists.one(id_)
    assert [(it.what, it.why) for it in seen.moments if it.attempt] == [
        ("attempt 1 claimed by agent-2", ""),
        ("attempt 1 was handed back to the queue", "agent-2 has ended: its keeper saw it die"),
        ("attempt 2 claimed by agent-1", ""),
        ("done", ""),
    ]


async def test_parents_and_children_are_linked_both_ways(letters: Letters, lists: TaskLists) -> None:
    turn = await letters.turn("/multi")
    [child] = await letters.put_up(kind="sub_agent", parent=turn.id)
    up, down = await lists.one(child), await lists.one(UUID(turn.id))
    assert up.parent is not None
    assert (str(up.parent.id), [it.id for it in down.children]) == (turn.id, [child])


async def test_a_conversation_is_shown_turn_by_turn_with_its_steps(letters: Letters, lists: TaskLists) -> None:
    turn = await letters.turn("why?")
    await letters.turns.begin_step(turn, letters.boot, 1, kind="model", name="tiny", input_text="why?")
    await letters.turns.finish_step(turn, 1, name="tiny", result={"text": "so"}, tokens=12)
    await letters.answer(turn)
    await letters.answer(await letters.turn("and?", conversation=turn.conversation_id), TaskState.FAILED, None)
    seen = await lists.conversation(turn.conversation_id)
    assert [(it.line.turn_no, it.message, it.answer, str(it.line.state)) for it in seen.turns] == [
        (2, "and?", "", "failed"), (1, "why?", "so", "done"),
    ]  # fmt: skip
    assert any("step 1: model tiny done" in it.what and "12 tokens" in it.what for it in seen.turns[1].moments)
    assert seen.turns[0].moments[-1].why == "no model"
    assert (seen.person, seen.title, seen.before) == ("ada", "why?", None)


async def test_a_long_conversation_comes_a_page_at_a_time(letters: Letters, lists: TaskLists) -> None:
    turn = await letters.turn("1")
    await letters.answer(turn)
    for number in range(2, TURNS + 4):
        await letters.answer(await letters.turn(str(number), conversation=turn.conversation_id))
    newest = await lists.conversation(turn.conversation_id)
    older = await lists.conversation(turn.conversation_id, newest.before)
    assert [it.line.turn_no for it in (*newest.turns, *older.turns)] == list(range(TURNS + 3, 0, -1))
    assert older.before is None


async def test_what_is_not_there_is_said_so(lists: TaskLists) -> None:
    for asked in (lists.one(uuid4()), lists.conversation(str(uuid4()))):
        with pytest.raises(NotFound, match="There is no"):
            await asked


async def test_all_that_was_dead_at_a_moment_leaves_later_deaths_out(letters: Letters, lists: TaskLists) -> None:
    before = await letters.dead(2)
    moment = datetime.now(UTC)
    await letters.dead(1)
    found = [id_ async for ids in lists.dead("requeue", "", moment) for id_ in ids]
    assert set(found) == set(before)
