"""Orders and the pause on real stores: one open order, one audit row each, and a chain that shows any change."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import psycopg
import pytest

from appliance.core import event_bus
from appliance.core.orders import AutomaticFailover, Orders
from appliance.core.postgres import Postgres, connection_options
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from tests.stores import Stores


@pytest.fixture
async def config(stores: Stores) -> Settings:
    return await stores.with_own_database(redis_key_prefix="torders:")


@pytest.fixture
async def redis(config: Settings) -> AsyncIterator[Redis]:
    client = Redis(config)
    yield client
    await client.aclose()


@pytest.fixture
def orders(redis: Redis, postgres: Postgres) -> Orders:
    return Orders(redis, postgres)


async def sql(config: Settings, statement: str) -> list[dict[str, object]]:
    """Run what no statement of the product does."""
    async with await psycopg.AsyncConnection.connect(
        config.postgres_url, **connection_options(config, "test")
    ) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


async def audited(config: Settings) -> list[tuple[object, ...]]:
    rows = await sql(config, "select actor, action, subject from audit_log order by id")
    return [tuple(row.values()) for row in rows]


async def test_an_order_is_a_row_with_its_audit_row(config: Settings, orders: Orders) -> None:
    order = await orders.drain("agent-2", deadline_s=5, by="ada")
    assert order.new
    read = await orders.read(order)
    assert (read.kind, read.agent_id, read.deadline_s, read.asked_by) == ("drain", "agent-2", 5, "ada")
    assert read.ended_at is None
    assert await audited(config) == [("ada", "drain", "agent-2")]
    [detail] = await sql(config, "select detail from audit_log")
    assert detail["detail"] == {"order": str(order.id), "deadline_s": 5}


async def test_a_second_drain_of_an_agent_is_the_first_one(config: Settings, orders: Orders) -> None:
    first = await orders.drain("agent-2", deadline_s=5, by="ada")
    second = await orders.drain("agent-2", deadline_s=9, by="bob")
    other = await orders.drain("agent-3", deadline_s=9, by="bob")
    assert (second.id, second.new, second.deadline_s, second.asked_by) == (first.id, False, 5, "ada")
    assert other.new
    assert await audited(config) == [("ada", "drain", "agent-2"), ("bob", "drain", "agent-3")]


async def test_there_is_one_switchover_at_a_time_whoever_is_to_follow(config: Settings, orders: Orders) -> None:
    first = await orders.switchover("agent-2", by="ada")
    second = await orders.switchover("agent-3", by="bob")
    assert (second.id, second.agent_id, second.new) == (first.id, "agent-2", False)
    assert await audited(config) == [("ada", "switchover", "agent-2")]


async def test_an_order_ends_once_and_may_then_be_given_again(orders: Orders) -> None:
    order = await orders.drain("agent-2", deadline_s=5, by="ada")
    assert await orders.end(order, "drained: 0 turns were running")
    assert not await orders.end(order, "refused: late")
    ended = await orders.read(order)
    assert ended.ended_at is not None
    assert ended.carried_out
    assert (await orders.drain("agent-2", deadline_s=5, by="ada")).new


@pytest.mark.parametrize(
    ("outcome", "done"),
    [
        ("agent-2 is primary of epoch 7 after 61 ms", True),
        ("refused: agent-2 is primary already", False),
        ("agent-2 did not take over within 3 s; the cluster elects", False),
    ],
)
async def test_an_outcome_is_told_from_a_refusal(orders: Orders, outcome: str, done: bool) -> None:
    order = await orders.switchover("agent-2", by="ada")
    await orders.end(order, outcome)
    assert (await orders.read(order)).carried_out is done


async def test_keepers_are_given_a_hint(redis: Redis, orders: Orders) -> None:
    heard: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def listen() -> None:
        async with aclosing(event_bus.listen(redis, "config")) as hints:  # type: ignore[type-var]
            async for hint in hints:
                heard.put_nowait(hint)

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(20):
            while heard.empty():
                await orders.drain("agent-2", deadline_s=5, by="ada")
                await asyncio.sleep(0.02)
        assert heard.get_nowait() == {"type": "order"}
    finally:
        listening.cancel()


async def test_a_pause_names_who_was_first_and_only_changes_are_audited(config: Settings, postgres: Postgres) -> None:
    failover = AutomaticFailover(postgres)
    assert await failover.paused() is None
    assert not await failover.resume(by="ada")
    paused = await failover.pause(by="ada")
    assert (await failover.pause(by="bob")) == paused == await failover.paused()
    assert paused.by == "ada"
    assert await failover.resume(by="bob")
    assert await failover.paused() is None
    assert await audited(config) == [
        ("ada", "pause automatic failover", ""),
        ("bob", "resume automatic failover", ""),
    ]


async def test_orders_given_at_once_are_each_audited_and_the_chain_holds(config: Settings, orders: Orders) -> None:
    await asyncio.gather(*(orders.drain(f"agent-{number}", deadline_s=number, by="ada") for number in range(20)))
    rows = await chain_of(config)
    assert len(rows) == 20
    assert [stored for stored, _ in rows] == [computed for _, computed in rows]


async def test_an_altered_row_breaks_the_chain(config: Settings, orders: Orders) -> None:
    for number in range(3):
        await orders.drain(f"agent-{number}", deadline_s=1, by="ada")
    await sql(config, "alter table audit_log disable trigger audit_log_is_append_only")
    await sql(config, "update audit_log set actor = 'mallory' where id = 2")
    assert [stored == computed for stored, computed in await chain_of(config)] == [True, False, True]


async def chain_of(config: Settings) -> list[tuple[bytes, bytes]]:
    """Return for every audit row the hash that is stored and the one its words and its predecessor's hash give."""
    rows = await sql(
        config,
        "select hash, concat_ws('|', (at at time zone 'UTC')::text, actor, action, subject, detail::text, trace_id)"
        " as said from audit_log order by id",
    )
    before, found = b"", []
    for row in rows:
        stored = bytes(row["hash"])  # type: ignore[call-overload]
        found.append((stored, hashlib.sha256(before + str(row["said"]).encode()).digest()))
        before = stored
    return found


@pytest.mark.parametrize(
    "change", ["update audit_log set actor = 'mallory'", "delete from audit_log", "truncate audit_log"]
)
async def test_the_audit_log_is_append_only(config: Settings, orders: Orders, change: str) -> None:
    await orders.drain("agent-2", deadline_s=5, by="ada")
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        await sql(config, change)
    assert await audited(config) == [("ada", "drain", "agent-2")]
