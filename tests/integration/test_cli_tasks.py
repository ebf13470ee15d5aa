"""`nexus tasks`, `dead`, `cancel`, `requeue` and `discard` on a real PostgreSQL."""

import json
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from appliance.cli import task_acts, tasks
from appliance.cli.common import ADMIN, Place, out
from appliance.core.errors import BadInput, Conflict, NotFound
from appliance.core.postgres import Postgres
from appliance.core.task_lists import Filter, TaskPage
from appliance.embedded.places import Home
from tests.integration.test_cli_orders import Here
from tests.letters import Letters
from tests.stores import Stores


@pytest.fixture
async def here(stores: Stores, tmp_path: Path) -> AsyncIterator[tuple[Place, Letters]]:
    settings = await stores.with_own_database()
    postgres = Postgres(settings, application="test")
    await postgres.open()
    letters = Letters(postgres)
    await letters.open()
    yield Here(settings, Home.at(tmp_path / "home").create()), letters
    await postgres.aclose()


ANY = Filter()


async def listed(place: Place, only: Filter = ANY, limit: int = 20, after: str = "") -> str:
    """Return what the command prints."""
    page = await tasks._page(place, only, after, limit)
    with out.capture() as printed:
        tasks.show(page)
    return printed.get()


async def shown(place: Place, task: str) -> str:
    seen = await tasks._one(place, task)
    with out.capture() as printed:
        tasks.show_one(seen)
    return printed.get()


async def did(place: Place, action: Any, *ids: str, kind: str = "", payload: str | None = None) -> str:
    return (await task_acts._done(place, action, list(ids), kind, payload, "")).sentence


async def state(letters: Letters, task: UUID) -> object:
    return (await letters.row(task))["state"]


async def test_on_a_narrow_terminal_only_what_a_task_is_about_is_cut(here: tuple[Place, Letters]) -> None:
    place, letters = here
    [task] = await letters.put_up(kind="thumbnails_of_pictures")
    page = await tasks._page(place, ANY, "", 20)
    narrow = Console(width=80, file=StringIO())
    narrow.print(tasks.table_of(page, narrow.width))
    (line,) = [it for it in narrow.file.getvalue().splitlines() if task.hex[:8] in it]  # type: ignore[attr-defined]
    assert line.split()[:4] == [task.hex[:8], "thumbnails_of_pictures", "queued", "ada"]
    assert len(line) <= 80


async def test_what_nobody_can_do_says_what_it_needs(here: tuple[Place, Letters]) -> None:
    place, letters = here
    [id_] = await letters.put_up(needs=("gpu",))
    [line] = [it for it in (await listed(place)).splitlines() if id_.hex[:8] in it]
    assert "No agent can do it" in line
    said = await shown(place, id_.hex[:8])
    assert "needs: gpu\nNo agent can do it: needs gpu.\n" in said


async def test_a_list_says_how_much_waits_and_a_line_a_task(here: tuple[Place, Letters]) -> None:
    place, letters = here
    [id_] = await letters.put_up(priority="high", kind="thumbnail")
    [dead] = await letters.dead(why="[red]no[/red]")
    said = await listed(place)
    assert "high    1 waiting, the oldest for 0 s, 0 running, 0 dead" in said
    assert "low     0 waiting, 0 running, 0 dead" in said
    [line] = [it for it in said.splitlines() if id_.hex[:8] in it]
    assert line.split()[:4] == [id_.hex[:8], "thumbnail", "queued", "ada"]
    [line] = [it for it in said.splitlines() if dead.hex[:8] in it]
    assert "[red]no[/red] 3" in line, "what people wrote is no markup of ours"


async def test_a_list_is_filtered_and_goes_on_where_it_says(here: tuple[Place, Letters]) -> None:
    place, letters = here
    ids = await letters.put_up(3)
    [dead] = await letters.dead()
    assert dead.hex[:8] in await listed(place, Filter(state="dead"))
    assert "No task fits." in await listed(place, Filter(kind="none"))
    first = await listed(place, Filter(state="queued"), limit=2)
    more = first.split("more: --after ")[1].strip()
    second = await listed(place, Filter(state="queued"), limit=2, after=more)
    assert "more:" not in second
    assert sorted(it.hex[:8] in first for it in ids) == [False, True, True]
    assert sorted(it.hex[:8] in second for it in ids) == [False, False, True]


async def test_one_task_is_told_moment_by_moment_with_how_to_go_on(here: tuple[Place, Letters]) -> None:
    place, letters = here
    [id_] = await letters.dead(why="the disk is full")
    said = await shown(place, id_.hex[:8])
    assert f"nothing {id_}  dead, normal, of ada" in said
    assert "attempt 1 claimed by agent-1" in said
    assert "attempt 3 failed, for good on agent-1: the disk is full 3" in said
    assert f"to try it again: nexus requeue {id_.hex[:8]}" in said
    assert 'given: {"n": 0}' in said


async def test_a_turn_is_shown_with_its_message_its_answer_and_its_children(here: tuple[Place, Letters]) -> None:
    place, letters = here
    turn = await letters.turn("why?")
    [child] = await letters.put_up(kind="sub_agent", parent=turn.id)
    await letters.answer(turn, text="because")
    said = await shown(place, turn.id)
    assert "given: why?" in said
    assert "result: because" in said
    assert f"published sub_agent {child.hex[:8]}: queued" in said


async def test_a_dead_turn_says_who_tries_it_again(here: tuple[Place, Letters]) -> None:
    place, letters = here
    turn = await letters.dead_turn()
    assert "its person tries it again in the conversation" in await shown(place, turn.id)


async def test_tasks_are_cancelled_requeued_and_discarded_by_the_beginnings_of_their_ids(
    here: tuple[Place, Letters],
) -> None:
    place, letters = here
    [waits], dead = await letters.put_up(), await letters.dead(4)
    assert await did(place, "cancel", waits.hex[:10]) == "1 task cancelled or asked to stop."
    assert await did(place, "requeue", dead[0].hex[:10], payload='{"n": 9}') == "1 task requeued."
    assert await did(place, "requeue", dead[1].hex[:10], waits.hex[:10]) == (
        "1 task requeued. 1 not: It is cancelled: only what is dead can be requeued."
    )
    assert await did(place, "discard", dead[2].hex[:10]) == "1 task discarded."
    assert [await state(letters, it) for it in dead] == ["queued", "queued", "cancelled", "dead"]
    assert (await letters.row(dead[0]))["payload"] == {"n": 9}
    rows = await letters.postgres.rows("audit_entries", before=None, person=ADMIN, action="", subject="", limit=9)
    assert [row["action"] for row in reversed(rows)].count("requeue task") == 2


async def test_all_dead_ones_of_a_kind_are_requeued(here: tuple[Place, Letters]) -> None:
    place, letters = here
    thumbs, [other] = await letters.dead(3, kind="thumb"), await letters.dead(kind="other")
    assert await did(place, "requeue", kind="thumb") == "3 tasks requeued."
    assert {await state(letters, it) for it in thumbs} == {"queued"}
    assert await did(place, "discard") == "1 task discarded."
    assert await state(letters, other) == "cancelled"


async def test_what_cannot_be_is_said_so(here: tuple[Place, Letters]) -> None:
    place, letters = here
    [waits], [dead] = await letters.put_up(), await letters.dead()
    with pytest.raises(Conflict, match="It is queued: only what is dead can be requeued"):
        await did(place, "requeue", waits.hex)
    with pytest.raises(NotFound, match="There is no task"):
        await did(place, "cancel", uuid4().hex)
    with pytest.raises(BadInput, match="for one task"):
        await did(place, "requeue", dead.hex, waits.hex, payload="{}")
    with pytest.raises(BadInput, match="has to be a JSON object"):
        await did(place, "requeue", dead.hex, payload="[]")
    assert await state(letters, dead) == "dead"


@pytest.mark.parametrize(("ids", "everything"), [([], False), (["abcd"], True)])
def test_which_ones_has_to_be_said_one_way(here: Any, ids: list[str], everything: bool) -> None:
    with pytest.raises(BadInput, match=r"`nexus requeue ID\.\.\.`, or `nexus requeue --all-dead`"):
        task_acts._do(here[0], "requeue", ids, everything=everything, kind="")


def test_a_kind_goes_with_all(here: Any) -> None:
    with pytest.raises(BadInput, match="--kind goes with --all-dead"):
        task_acts._do(here[0], "discard", ["abcd"], everything=False, kind="thumb")


def test_a_payload_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"a": 1}')
    assert task_acts._text_of(f"@{file}") == '{"a": 1}'
    assert task_acts._text_of("") is None
    assert task_acts._text_of("{}") == "{}"
    with pytest.raises(BadInput, match="cannot be read"):
        task_acts._text_of(f"@{tmp_path}/none")


async def test_for_programs_a_page_is_json_of_its_schema(
    here: tuple[Place, Letters], capsys: pytest.CaptureFixture[str]
) -> None:
    place, letters = here
    await letters.dead()
    page = await tasks._page(place, Filter(state="dead"), "", 20)
    assert isinstance(page, TaskPage)
    tasks.dead(schema=True)
    described = json.loads(capsys.readouterr().out)
    assert described["$ref"] == "#/$defs/TaskPage"
