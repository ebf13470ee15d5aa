"""Cancel, requeue and discard on a real PostgreSQL: what they do, what they refuse, that each counts once."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from appliance.core.errors import BadInput, Conflict, NotFound
from appliance.core.postgres import Postgres
from appliance.core.records import TaskState
from appliance.core.task_acts import MAX_PAYLOAD, TaskActs, checked_payload
from appliance.core.task_lists import TaskLists
from tests.letters import Letters


@pytest.fixture
async def letters(postgres: Postgres) -> Letters:
    found = Letters(postgres)
    await found.open()
    return found


@pytest.fixture
def acts(postgres: Postgres) -> TaskActs:
    return TaskActs(postgres)


def olga(**more: Any) -> dict[str, Any]:
    return {"by": "olga", "key": uuid4(), **more}


async def audited(letters: Letters) -> list[tuple[str, str]]:
    rows = await letters.postgres.rows("audit_entries", before=None, person="olga", action="", subject="", limit=100)
    return [(row["action"], row["subject"]) for row in reversed(rows)]


async def test_a_requeued_task_has_all_its_tries_again_and_its_attempts_count_on(
    letters: Letters, acts: TaskActs
) -> None:
    [id_] = await letters.dead()
    outcome = await acts.one("requeue", id_, **olga())
    assert outcome.sentence == "1 task requeued."
    row = await letters.row(id_)
    assert [row[it] for it in ("state", "fail_count", "crash_count", "reason", "attempt")] == ["queued", 0, 0, "", 3]
    [task] = await letters.take([id_])
    assert task.attempt == 4, "the attempt is the fence against whoever still works on an earlier one"
    assert await letters.end([task]) == {id_}
    assert await audited(letters) == [("requeue task", str(id_))]


async def test_whoever_still_works_on_an_earlier_attempt_cannot_end_a_requeued_task(
    letters: Letters, acts: TaskActs
) -> None:
    [id_] = await letters.put_up()
    [old] = await letters.take([id_])
    for number in range(3):
        [task] = await letters.take([id_]) if number else [old]
        await letters.batches.fail(task, letters.boot, reason="no", delay_s=0)
    await acts.one("requeue", id_, **olga())
    await letters.take([id_])
    assert await letters.end([old]) == set()


async def test_a_task_that_was_to_stop_when_it_died_does_not_stop_at_once_when_requeued(
    letters: Letters, acts: TaskActs
) -> None:
    [id_] = await letters.put_up()
    [task] = await letters.take([id_])
    await acts.one("cancel", id_, **olga())
    for _ in range(3):
        await letters.turns.note_crash(letters.boot)
    assert (await letters.row(id_))["state"] == "dead"
    await acts.one("requeue", id_, **olga())
    await letters.take([id_])
    flags = await letters.batches.running_of(letters.boot)
    assert not flags[str(id_)].cancelled
    assert await letters.end([task]) == set()


async def test_a_requeued_task_is_told_to_redis_by_the_next_sweep(letters: Letters, acts: TaskActs) -> None:
    """What killed its runners still bears the stamp of having been told."""
    [id_] = await letters.put_up()
    await letters.take([id_])
    for _ in range(3):
        await letters.turns.note_crash(letters.boot)
    await acts.one("requeue", id_, **olga())
    assert (await letters.batches.waiting("g1")).untold


async def test_an_edited_payload_is_what_the_next_attempt_is_given(letters: Letters, acts: TaskActs) -> None:
    [id_] = await letters.dead()
    await acts.one("requeue", id_, payload='{"path": "b.png"}', **olga())
    [task] = await letters.take([id_])
    assert task.payload == {"path": "b.png"}


@pytest.mark.parametrize(("payload", "replayed"), [(None, True), ('{"n": 0}', True), ('{"n": 1}', False)])
async def test_finished_steps_are_replayed_unless_they_answered_another_payload(
    letters: Letters, acts: TaskActs, payload: str | None, replayed: bool
) -> None:
    [id_] = await letters.put_up()
    for number in range(3):
        [task] = await letters.take([id_])
        if not number:
            first = await letters.turns.begin_step(task, letters.boot, 1, kind="model", name="m", input_text="n is 0")
            await letters.turns.finish_step(task, 1, name="m", result={"text": "zero"}, tokens=1)
        await letters.batches.fail(task, letters.boot, reason="no", delay_s=0)
    await acts.one("requeue", id_, payload=payload, **olga())
    [task] = await letters.take([id_])
    step = await letters.turns.begin_step(task, letters.boot, 1, kind="model", name="m", input_text="?")
    assert step.done == replayed
    assert (step.idem_key == first.idem_key) == replayed, "who is called outside remembers keys as well"
    seen = await TaskLists(letters.postgres).one(id_)
    old = [it for it in seen.moments if it.what.startswith("a step of the payload before")]
    assert len(old) == (not replayed), "the timeline keeps it"


async def test_each_change_of_a_payload_has_keys_of_its_own_and_a_mere_requeue_keeps_them(
    letters: Letters, acts: TaskActs
) -> None:
    [id_] = await letters.dead()
    keys: list[str] = []
    for payload in ('{"n": 1}', None, '{"n": 0}', '{"n": 0}'):
        await acts.one("requeue", id_, payload=payload, **olga())
        [task] = await letters.take([id_])
        step = await letters.turns.begin_step(task, letters.boot, 1, kind="model", name="", input_text="")
        keys.append(step.idem_key)
        for _ in range(3):
            await letters.batches.fail(task, letters.boot, reason="no", delay_s=0)
            [task] = await letters.take([id_]) or [task]
    assert keys == [f"{id_}:edit-1:1", f"{id_}:edit-1:1", f"{id_}:edit-2:1", f"{id_}:edit-2:1"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[1]", "has to be a JSON object"),
        ('"x"', "has to be a JSON object"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": "\\u0000"}', "NUL character"),
        ('{"a": "\\ud800"}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": "' + "x" * MAX_PAYLOAD + '"}', "more than 200,000 characters"),
    ],
)
def test_a_payload_that_cannot_be_says_why(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        checked_payload(text)


def test_a_payload_with_an_escaped_backslash_is_no_nul() -> None:
    assert checked_payload('{"a": "\\\\u0000"}') == {"a": "\\u0000"}


async def test_a_discarded_task_is_cancelled_with_who_and_why(letters: Letters, acts: TaskActs) -> None:
    [id_] = await letters.dead()
    await acts.one("discard", id_, reason="  a test\nof ours ", **olga())
    row = await letters.row(id_)
    assert (row["state"], row["reason"]) == ("cancelled", "discarded by olga: a test of ours")
    assert await audited(letters) == [("discard task", str(id_))]


async def test_what_waits_is_cancelled_at_once_and_what_runs_is_asked_to_stop(letters: Letters, acts: TaskActs) -> None:
    waiting, running = await letters.put_up(2)
    await letters.take([running])
    await acts.one("cancel", waiting, **olga())
    await acts.one("cancel", running, **olga())
    row = await letters.row(waiting)
    assert (row["state"], row["reason"]) == ("cancelled", "cancelled by olga")
    assert (await letters.row(running))["state"] == "running"
    assert (await letters.batches.running_of(letters.boot))[str(running)].cancelled
    assert await letters.take([waiting]) == []


async def test_a_cancelled_turn_lets_the_next_one_of_its_conversation_go_on(letters: Letters, acts: TaskActs) -> None:
    first = await letters.turn("1")
    second = await letters.turn("2", conversation=first.conversation_id)
    third = await letters.turn("3", conversation=first.conversation_id)
    await letters.turns.retry(first, letters.boot, reason="busy", delay_s=60)
    await acts.one("cancel", UUID(first.id), **olga())
    states = [(await letters.row(UUID(it.id)))["state"] for it in (first, second, third)]
    assert states == ["cancelled", "queued", "waiting"]


async def test_children_of_a_cancelled_parent_that_does_not_run_are_stopped_too(
    letters: Letters, acts: TaskActs
) -> None:
    [parent] = await letters.put_up()
    waits, runs = await letters.put_up(2, parent=str(parent))
    await letters.take([runs])
    await acts.one("cancel", parent, **olga())
    assert (await letters.row(waits))["state"] == "cancelled"
    assert (await letters.batches.running_of(letters.boot))[str(runs)].cancelled


async def test_what_makes_no_sense_is_refused_with_its_reason_and_audited(letters: Letters, acts: TaskActs) -> None:
    done, queued = await letters.put_up(2)
    await letters.end(await letters.take([done]))
    turn = await letters.dead_turn()
    refused = (
        ("cancel", done, "It has ended already: it is done."),
        ("requeue", done, "It is done: only what is dead can be requeued."),
        ("discard", queued, "It is queued: only what is dead can be discarded."),
        ("requeue", UUID(turn.id), "It is a turn: its person tries it again in the conversation"),
    )
    before = [await letters.row(it) for it in (done, queued, UUID(turn.id))]
    for action, id_, why in refused:
        with pytest.raises(Conflict, match=why):
            await acts.one(action, id_, **olga())  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="There is no such task"):
        await acts.one("cancel", uuid4(), **olga())
    assert [await letters.row(it) for it in (done, queued, UUID(turn.id))] == before
    told = await audited(letters)
    assert told[:4] == [(f"{action} task: refused", str(id_)) for action, id_, _ in refused]


async def test_a_dead_turn_is_discarded_and_its_conversation_goes_on(letters: Letters, acts: TaskActs) -> None:
    turn = await letters.dead_turn()
    await acts.one("discard", UUID(turn.id), **olga())
    assert (await letters.row(UUID(turn.id)))["state"] == "cancelled"
    assert (await letters.turn("again", conversation=turn.conversation_id)).state is TaskState.RUNNING


async def test_a_request_sent_twice_counts_once(letters: Letters, acts: TaskActs) -> None:
    [id_] = await letters.dead()
    asked = olga()
    first = await acts.one("requeue", id_, **asked)
    [task] = await letters.take([id_])
    assert await acts.one("requeue", id_, **asked) == first, "answered, although it runs by now"
    assert (await letters.row(id_))["state"] == "running"
    assert await audited(letters) == [("requeue task", str(id_))]
    with pytest.raises(Conflict, match="belongs to another request"):
        await acts.one("cancel", id_, **asked)
    assert task.attempt == 4


async def test_the_same_request_at_the_same_moment_counts_once(letters: Letters, acts: TaskActs) -> None:
    ids = await letters.dead(5)
    asked = olga()
    found = await asyncio.gather(*(acts.many("requeue", ids, **asked) for _ in range(8)))
    assert {(it.done, it.refused) for it in found} == {(5, 0)}
    assert len(await audited(letters)) == 5


async def test_of_two_people_who_act_on_the_same_task_one_is_told_why_not(letters: Letters, acts: TaskActs) -> None:
    [id_] = await letters.dead()
    found = await asyncio.gather(
        acts.one("requeue", id_, **olga()), acts.one("discard", id_, by="bob", key=uuid4()), return_exceptions=True
    )
    assert [type(it) for it in found].count(Conflict) == 1


async def test_many_at_once_say_how_many_and_why_not_the_others(letters: Letters, acts: TaskActs) -> None:
    dead = await letters.dead(3)
    [queued] = await letters.put_up()
    outcome = await acts.many("requeue", [*dead, queued, dead[0]], **olga())
    assert (outcome.done, outcome.refused) == (3, 1)
    assert outcome.sentence == "3 tasks requeued. 1 not: It is queued: only what is dead can be requeued."
    with pytest.raises(BadInput, match="tick at least one"):
        await acts.many("requeue", [], **olga())


async def test_all_that_are_dead_are_requeued_by_kind_turns_and_later_deaths_left_alone(
    letters: Letters, acts: TaskActs
) -> None:
    thumbs, others = await letters.dead(600, kind="thumb"), await letters.dead(2, kind="other")
    await letters.dead_turn()
    moment = datetime.now(UTC)
    [late] = await letters.dead(1, kind="thumb")
    asked = olga(until=moment)
    assert (await acts.all_dead("requeue", "thumb", **asked)).done == 600
    assert (await acts.all_dead("requeue", "thumb", **asked)).done == 0, "sent twice it finds nothing more"
    assert (await letters.row(late))["state"] == "dead"
    assert {(await letters.row(it))["state"] for it in thumbs[::100]} == {"queued"}
    outcome = await acts.all_dead("requeue", "", **olga())
    assert (outcome.done, outcome.refused) == (len(others) + 1, 0)
    assert (await acts.all_dead("discard", "", **olga())).done == 1, "the turn"
