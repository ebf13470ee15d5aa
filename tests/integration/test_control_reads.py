"""What the pages read: stores, audit, log lines, the drawing; each tells of a store that is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Status
from appliance.web.rendering import size, span, spark
from control_plane.log_lines import Wanted, newer, read
from control_plane.queries import AgentLine, Overview
from control_plane.queries.audit import AuditReads, Entry, Filter
from control_plane.topology import drawn
from tests.client import Client
from tests.stores import Stores

HTML = {"Accept": "text/html"}


@pytest.fixture
async def postgres(stores: Stores) -> AsyncIterator[Postgres]:
    """A database with its own audit log."""
    own = Postgres(await stores.with_own_database(), application="test")
    await own.open()
    yield own
    await own.aclose()


def test_details_are_shown_in_short() -> None:
    detail = {"order": "2725f3e1-b368-4b79-a68a-827fec467520", "deadline_s": 60, "to": [1, 2], "none": [], "why": "no"}
    entry = Entry(1, datetime.now(UTC), "ada", "drain", "agent-1", detail)
    assert entry.facts == [("order", "2725f3e1"), ("deadline_s", "60"), ("to", "[1,2]"), ("why", "no")]


async def audit(postgres: Postgres, actor: str, action: str, subject: str) -> None:
    await postgres.value("audit", actor=actor, action=action, subject=subject, detail="{}", trace="")


async def test_the_audit_log_is_filtered_and_paged(postgres: Postgres) -> None:
    log = AuditReads(postgres)
    for number in range(60):
        await audit(postgres, "ada" if number % 2 else "bob", "drain", f"agent-{number}")
    newest = await log.entries(Filter())
    older = await log.entries(Filter(), before=newest[-1].id)
    assert [it.subject for it in newest] == [f"agent-{number}" for number in range(59, 9, -1)]
    assert [it.subject for it in older] == [f"agent-{number}" for number in range(9, -1, -1)]
    assert [it.actor for it in await log.entries(Filter(person="ada", subject="AGENT-1"))][:2] == ["ada", "ada"]
    assert await log.entries(Filter(action="scale")) == []
    assert await log.choices() == (["ada", "bob"], ["drain"])


async def test_a_whole_chain_is_whole_and_an_altered_or_removed_row_is_found(
    stores: Stores, postgres: Postgres
) -> None:
    log = AuditReads(postgres)
    assert (await log.chain()).broken_at is None
    for number in range(5):
        await audit(postgres, "ada", "drain", f"agent-{number}")
    assert await log.chain() == type(await log.chain())(entries=5, broken_at=None)
    await altered(postgres, "update audit_log set actor = 'eve' where id = 3")
    assert (await log.chain()).broken_at == 3
    await altered(postgres, "update audit_log set actor = 'ada' where id = 3")
    await altered(postgres, "delete from audit_log where id = 2")
    assert (await log.chain()).broken_at == 3


async def altered(postgres: Postgres, change: str) -> None:
    """Do what the trigger forbids, as somebody with the database's own rights could."""
    async with postgres._pool.connection() as connection:
        await connection.execute("alter table audit_log disable trigger all")
        await connection.execute(change.encode())
        await connection.execute("alter table audit_log enable trigger all")


async def test_the_stores_page_tells_the_eight_numbers_with_a_word(client: Client) -> None:
    view = (await client.http.get("/control/api/v1/stores")).json()
    assert len(view["numbers"]) == 8
    assert {it["word"] for it in view["numbers"]} <= {"fine", "attention", "unknown"}
    words = {it["name"]: it for it in view["numbers"]}
    assert words["Agents active"]["value"] == "3 of 3"
    assert words["Redis latency p99"]["value"].split()[1] == "ms"
    assert {it["name"] for it in view["redis"]} >= {"Version", "Memory", "Keys", "Clients", "Written to disk"}
    assert {it["name"] for it in view["postgres"]} >= {"Version", "Connections", "Size of the database"}
    assert {it["name"] for it in view["tables"]} & {"tasks", "messages"}
    page = (await client.http.get("/control/stores", headers=HTML)).text
    assert "Slowest commands" in page
    assert "PostgreSQL" in page


async def test_a_level_that_does_not_exist_and_a_huge_epoch_are_no_errors_of_ours(client: Client) -> None:
    assert (await client.http.get("/control/history?before=999999999999999999999", headers=HTML)).status_code == 400
    assert (await client.http.get("/control/audit?before=x", headers=HTML)).status_code == 400
    assert (await client.http.get("/control/audit?person=%27--&subject=%25", headers=HTML)).status_code == 200


def test_a_json_line_becomes_fields_and_any_other_line_stays_what_it_is() -> None:
    line = read(
        '{"event": "turn_ended", "level": "warning", "timestamp": "2026-11-25T02:53:31.162Z", "n": 3, "a": "b"}'
    )
    assert (line.event, line.level, line.time) == ("turn_ended", "warning", "02:53:31.162")
    assert line.facts == (("n", "3"), ("a", "b"))
    assert read("Traceback (most recent call last):").event == "Traceback (most recent call last):"
    assert read("[1, 2]").event == "[1, 2]"


@pytest.mark.parametrize(
    "raw", ["[" * 100_000, '{"event": "\\ud800", "x": {"\\ud800": 1}}', "\udc80", '{"event": [1, {}]}']
)
def test_a_line_that_anybody_may_have_written_can_always_be_shown(raw: str) -> None:
    line = read(raw)
    assert (line.event + str(line.facts) + line.trace).encode()


def test_a_moment_that_is_none_is_left_out() -> None:
    """It becomes the id of a server-sent event, in which a line end would begin a field of the writer's own."""
    assert read('{"event": "x", "timestamp": "2026-11-25\\ndata: <b>"}').at == ""
    assert read('{"event": "x", "timestamp": "2026-11-25T07:00:00.1Z"}').at == "2026-11-25T07:00:00.1Z"


def test_a_level_lets_itself_and_what_is_worse_through() -> None:
    raw = '{"event": "a_thing", "level": "warning"}'
    assert Wanted("info", "THING").lets(raw, read(raw))
    assert not Wanted("error").lets(raw, read(raw))
    assert not Wanted("info", "other").lets(raw, read(raw))


async def test_who_comes_back_is_given_what_is_newer_than_what_it_saw() -> None:
    async def written() -> AsyncIterator[str]:
        yield '{"event": "a", "timestamp": "2026-01-01T00:00:01Z"}'
        yield "half a traceback"
        yield '{"event": "b", "timestamp": "2026-01-01T00:00:02Z"}'
        yield "the other half"

    assert [read(raw).event async for raw in newer(written(), "2026-01-01T00:00:01Z")] == ["b", "the other half"]
    assert len([raw async for raw in newer(written(), "")]) == 4


def overview(agents: int, *, primary: int = 1, away: tuple[str, ...] = ()) -> Overview:
    lines = tuple(
        AgentLine(Agent(id=f"agent-{n}", status=Status.ACTIVE, max_load=20, current_load=10), "active", n == primary)
        for n in range(1, agents + 1)
    )
    return Overview(lines, f"agent-{primary}" if primary else None, 1, None, away)


@pytest.mark.parametrize("agents", [1, 2, 3, 7, 8, 50])
def test_no_two_boxes_of_the_drawing_overlap_and_all_lie_inside(agents: int) -> None:
    drawing = drawn(overview(agents))
    assert len(drawing.boxes) == agents + 2
    places = sorted((box.y, box.x) for box in drawing.boxes)
    for (y, x), (other_y, other_x) in pairwise(places):
        assert other_y > y or other_x - x >= 152
    assert all(0 <= box.x <= drawing.width - 152 and 0 <= box.y <= drawing.height - 42 for box in drawing.boxes)
    top = min(drawing.boxes, key=lambda box: box.y)
    assert top.line is not None
    assert top.line.is_primary


def test_the_drawing_says_in_words_what_it_shows() -> None:
    assert drawn(overview(2, away=("Redis",))).described == (
        "agent-1 on top as primary; below: agent-2 active; stores: Redis does not answer, PostgreSQL answers."
    )
    assert drawn(overview(2, primary=0)).seat_is_empty


def test_sizes_spans_and_lines_are_as_people_read_them() -> None:
    assert [size(0), size(999), size(67_500_000), size(5e12)] == ["0 B", "999 B", "67.5 MB", "5.0 TB"]
    assert [span(59), span(200), span(8000), span(400_000)] == ["59 s", "3 min", "2 h", "5 days"]
    assert spark([]) == ""
    assert spark([1.0]) == "M60 5"
    assert spark([0.0, 1.0, 0.0]) == "M58 21l1-16l1 16"
    assert spark([0.0] * 100).count("l") == 59
    assert spark([0.0] * 100, 60, 20).count("l") == 19
