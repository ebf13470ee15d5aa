"""The desired fleet on a real PostgreSQL: one row, each change with its audit row, requests that count once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from appliance.core.desired_fleet import Desired, DesiredFleet, Wish
from appliance.core.errors import BadInput, Conflict, NotFound, StoreAway
from appliance.core.postgres import Postgres, connection_options
from appliance.core.requests import Requests
from appliance.core.settings import Settings


@pytest.fixture
def fleet(postgres: Postgres) -> DesiredFleet:
    return DesiredFleet(postgres)


async def sql(config: Settings, statement: str) -> list[dict[str, Any]]:
    options = connection_options(config, "test")
    async with await psycopg.AsyncConnection.connect(config.postgres_url, **options) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


async def audited(config: Settings) -> list[tuple[str, str, str]]:
    rows = await sql(config, "select actor, action, subject from audit_log order by id")
    return [(row["actor"], row["action"], row["subject"]) for row in rows]


def to(*slots: int) -> Any:
    return lambda _now: Wish(slots)


async def scale(fleet: DesiredFleet, *slots: int, by: str = "ada", key: UUID | None = None) -> Desired:
    return await fleet.change(to(*slots), action="scale", subject=str(len(slots)), by=by, key=key or uuid4())


async def test_the_first_up_writes_the_row_and_a_later_one_obeys_it(config: Settings, fleet: DesiredFleet) -> None:
    with pytest.raises(NotFound, match="make up"):
        await fleet.read()
    assert (await fleet.up(3, by="nexus up")).slots == (1, 2, 3)
    await scale(fleet, 1, 3, 4, 5, 6)
    for _ in range(2):
        assert (await fleet.up(3, by="nexus up")).slots == (1, 3, 4, 5, 6)
    assert await audited(config) == [("ada", "scale", "5")]


async def test_up_brings_back_who_rests(config: Settings, fleet: DesiredFleet) -> None:
    await fleet.up(2, by="nexus up")
    await fleet.change(
        lambda now: now.with_rest(2, rests=True), action="out of service", subject="agent-2", by="ada", key=uuid4()
    )
    assert (await fleet.read()).working == (1,)
    assert (await fleet.up(2, by="nexus up")).working == (1, 2)
    assert await audited(config) == [("ada", "out of service", "agent-2"), ("nexus up", "up", "")]


async def test_a_change_is_one_row_with_who_and_when_and_its_audit_row(config: Settings, fleet: DesiredFleet) -> None:
    before = await fleet.up(3, by="nexus up")
    after = await scale(fleet, 1, 3)
    assert after == await fleet.read()
    assert (after.number, after.changed_by, after.version) == (2, "ada", before.version + 1)
    assert after.changed_at > before.changed_at
    [row] = await sql(config, "select detail from audit_log")
    assert (row["detail"]["from"], row["detail"]["to"]) == ([1, 2, 3], [1, 3])
    assert [row["number"] for row in await sql(config, "select number from desired_fleet")] == [2]


async def test_a_repeated_request_is_answered_with_the_first_result(config: Settings, fleet: DesiredFleet) -> None:
    await fleet.up(3, by="nexus up")
    key = uuid4()
    first = await scale(fleet, 1, 2, key=key)
    await scale(fleet, 1, 2, 3, 4, by="bob")
    assert await scale(fleet, 1, 2, key=key) == first
    assert (await fleet.read()).number == 4
    assert await audited(config) == [("ada", "scale", "2"), ("bob", "scale", "4")]


async def test_a_key_that_belongs_to_another_request_is_refused(fleet: DesiredFleet) -> None:
    await fleet.up(3, by="nexus up")
    key = uuid4()
    await scale(fleet, 1, 2, key=key)
    with pytest.raises(Conflict, match=r"another request \(scale 2\)"):
        await scale(fleet, 1, key=key)


async def test_the_same_click_sent_twice_at_once_counts_once(config: Settings, fleet: DesiredFleet) -> None:
    await fleet.up(3, by="nexus up")
    key = uuid4()
    both = await asyncio.gather(*(scale(fleet, 1, 2, key=key) for _ in range(5)))
    assert len({it.version for it in both}) == 1
    assert await audited(config) == [("ada", "scale", "2")]


async def test_two_operators_at_once_each_decide_on_what_the_other_did(config: Settings, fleet: DesiredFleet) -> None:
    await fleet.up(1, by="nexus up")

    def one_more(now: Desired) -> Wish:
        return Wish((*now.slots, max(now.slots) + 1))

    await asyncio.gather(
        *(fleet.change(one_more, action="scale", by=f"operator {n}", key=uuid4()) for n in range(8))
    )  # fmt: skip
    assert (await fleet.read()).slots == tuple(range(1, 10))
    assert len(await audited(config)) == 8


async def test_what_changes_nothing_is_not_audited(config: Settings, fleet: DesiredFleet) -> None:
    before = await fleet.up(2, by="nexus up")
    assert await scale(fleet, 1, 2) == before
    assert await audited(config) == []


@pytest.mark.parametrize("wish", ["'{}'", "'{0}'", "(select array_agg(n) from generate_series(1, 1001) n)"])
async def test_the_table_itself_refuses_what_cannot_be(config: Settings, fleet: DesiredFleet, wish: str) -> None:
    await fleet.up(2, by="nexus up")
    with pytest.raises(psycopg.errors.CheckViolation):
        await sql(config, f"update desired_fleet set slots = {wish}")


async def test_nothing_is_changed_when_the_choice_is_refused(config: Settings, fleet: DesiredFleet) -> None:
    await fleet.up(2, by="nexus up")

    def refuse(_now: Desired) -> Wish:
        raise BadInput("no")

    with pytest.raises(BadInput):
        await fleet.change(refuse, action="scale", by="ada", key=uuid4())
    assert await audited(config) == []


async def test_a_disk_without_room_is_said_and_changes_nothing(config: Settings, fleet: DesiredFleet) -> None:
    """The server's own word for it (SQLSTATE 53100), raised where the audit row is written."""
    before = await fleet.up(2, by="nexus up")
    await sql(config, "create function full_disk() returns trigger language plpgsql as $$ begin"
                      " raise exception using errcode = '53100', message = 'could not extend file'; end $$;"
                      " create trigger full_disk before insert on audit_log execute function full_disk()")  # fmt: skip
    with pytest.raises(StoreAway, match="no room left on its disk"):
        await scale(fleet, 1, 2, 3)
    assert await fleet.read() == before
    await sql(config, "drop trigger full_disk on audit_log")
    assert (await scale(fleet, 1, 2, 3)).number == 3


async def test_a_request_is_audited_before_it_is_done_and_after(config: Settings, postgres: Postgres) -> None:
    requests, key = Requests(postgres), uuid4()
    assert await requests.answer(key) is None
    await requests.begin(key, action="kill", subject="agent-2", by="ada", why="practice")
    assert await audited(config) == [("ada", "kill", "agent-2")]
    with pytest.raises(Conflict, match="under way, or was cut off"):
        await requests.answer(key)
    with pytest.raises(Conflict, match="used for another request"):
        await requests.begin(key, action="kill", subject="agent-3", by="ada")
    for outcome in ("agent-2 killed", "something else"):
        await requests.end(key, outcome)
    assert await requests.answer(key) == "agent-2 killed"
    await requests.refused(action="scale", subject="9" * 9999, by="ada", why="too many")
    rows = await sql(config, "select action, subject, detail from audit_log order by id")
    assert [row["action"] for row in rows] == ["kill", "kill: outcome", "scale: refused"]
    assert rows[1]["detail"]["outcome"] == "agent-2 killed"
    assert (len(rows[2]["subject"]), rows[2]["detail"]) == (500, {"why": "too many"})
