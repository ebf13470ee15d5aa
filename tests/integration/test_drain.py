"""An agent is taken out and nobody notices (PROTOCOLS 6.4, 7.3; FAULTS F26, I13). The test plays the keepers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from appliance.cli.talk import Talk
from tests.client import Client, follow_to_the_end, sse
from tests.fakes.models import FakeProvider
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import PATIENCE_S, wait_until
from tests.watched import check_nobody_noticed, streams_of, turns_on


@pytest.fixture(scope="module")
async def runners(stores: Stores, provider: FakeProvider) -> AsyncIterator[Runners]:
    """Three runners; a test that ends one starts it again."""
    async with running_runners(stores, provider, 3) as running:
        yield running


@pytest.fixture
async def person(runners: Runners) -> AsyncIterator[Client]:
    _, token = await runners.sign_in()
    client = Client(runners.url, token)
    yield client
    await client.aclose()


async def test_ten_running_turns_and_their_streams_survive_the_end_of_their_agent(
    runners: Runners, person: Client, provider: FakeProvider
) -> None:
    turns = await turns_on(runners, person, "agent-1", 10, "tokens=300 delay=20ms")
    leaving = await runners.agent("agent-1")
    runners.drain("agent-1", within_s=1)
    await runners.until_drained("agent-1")
    assert await runners.ledger.running_of(leaving.boot) == {}
    assert await streams_of(runners, "agent-1") == 0, "they moved before the stop"
    assert await runners.terminate("agent-1") == 0
    await check_nobody_noticed(runners, person, provider, turns, attempts={2})
    assert runners.left_over["agent-1"] == 0
    await runners.restart("agent-1")


async def test_turns_that_end_in_time_end_where_they_run(
    runners: Runners, person: Client, provider: FakeProvider
) -> None:
    turns = await turns_on(runners, person, "agent-2", 3, "tokens=250 delay=20ms")
    runners.drain("agent-2", within_s=PATIENCE_S)

    async def counted_down() -> bool:
        return runners.pages["agent-2"].load < 3

    await wait_until(counted_down, of="the first of three turns to end")
    await runners.until_drained("agent-2")
    await check_nobody_noticed(runners, person, provider, turns, attempts={1})
    assert await runners.terminate("agent-2") == 0
    await runners.restart("agent-2")


async def test_an_answer_that_is_the_response_to_its_message_stays_to_its_end(runners: Runners, person: Client) -> None:
    kinds = []
    path = f"/api/v1/conversations/{await person.create()}/messages"
    headers = {"Accept": "text/event-stream"}
    address = await runners.direct("agent-3")
    message = {"text": "stay [[tokens=50 delay=20ms]]"}
    async with person.http.stream("POST", address + path, json=message, headers=headers) as answer:
        async for event in sse(answer):
            kinds.append(event["type"])
            if event["type"] == "token" and not runners.pages["agent-3"].drain_deadline:
                runners.drain("agent-3", within_s=PATIENCE_S)
    assert kinds[-1] == "done"
    assert "moving" not in kinds
    await runners.terminate("agent-3")
    await runners.restart("agent-3")


async def test_sigterm_alone_hands_everything_back_and_moves_the_streams(
    runners: Runners, person: Client, provider: FakeProvider
) -> None:
    turns = await turns_on(runners, person, "agent-3", 5, "tokens=200 delay=20ms")
    assert await runners.terminate("agent-3") == 0
    await check_nobody_noticed(runners, person, provider, turns, attempts={2})
    assert runners.left_over["agent-3"] == 0
    await runners.restart("agent-3")


async def test_the_command_line_moves_with_the_stream_and_loses_nothing(runners: Runners) -> None:
    _, token = await runners.sign_in()
    async with Talk(runners.url, token) as talk:
        await talk.ask("talk [[tokens=150 delay=20ms]]")
        row = await runners.postgres.row("turn", task=talk.turn)
        boots = {agent.boot: agent.id for agent in (await runners.view()).agents}
        edge = boots[str(row["owner_boot"]) if row else ""]
        events = []
        async for event in talk.events():
            events.append(event)
            if event["type"] == "token" and not runners.pages[edge].drain_deadline:
                runners.drain(edge, within_s=0.5)
    kinds = [event["type"] for event in events]
    assert kinds[-1] == "done"
    assert kinds.count("connected") == 2
    assert not {"lost", "moving", "failed"} & set(kinds)
    assert len({event["cursor"] for event in events if event.get("cursor")}) == len(kinds) - 2
    await runners.terminate(edge)
    await runners.restart(edge)


async def test_a_message_that_reaches_a_leaving_agent_is_answered_by_another(runners: Runners, person: Client) -> None:
    leaving = await runners.agent("agent-1")
    direct = Client(await runners.direct("agent-1"), person.http.headers["authorization"].removeprefix("Bearer "))
    runners.drain("agent-1", within_s=0)
    await runners.until_drained("agent-1")
    conversation = await direct.create()
    accepted = await direct.send(conversation, "late [[tokens=3]]")
    assert accepted["state"] == "queued"
    events = await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])
    assert events[-1]["type"] == "done"
    assert events[-1]["agent"] != leaving.id
    assert "snapshot" not in {event["type"] for event in events}, "the cursor was known, whoever began first"
    await direct.aclose()
    await runners.terminate("agent-1")
    await runners.restart("agent-1")


async def test_a_leaving_agent_refuses_streams_so_that_the_gateway_asks_the_next_one(
    runners: Runners, person: Client
) -> None:
    conversation = await person.create()
    runners.drain("agent-2", within_s=0)
    path, headers = f"/api/v1/conversations/{conversation}/events", dict(person.http.headers)
    address = await runners.direct("agent-2")

    async def refused() -> bool:
        async with httpx2.AsyncClient() as http, http.stream("GET", address + path, headers=headers) as answer:
            return answer.status_code == 503

    await wait_until(refused, of="the refusal of a stream")
    with pytest.raises(InvalidStatus) as denied:
        async with connect(
            f"{address}/c/{conversation}/ws".replace("http", "ws"), additional_headers=authorised(person)
        ):
            pass
    assert denied.value.response.status_code == 503
    for attempt in range(12):
        async for event in person.events(conversation, attempt=attempt):
            assert event["type"] != "moving"
            break
    await runners.terminate("agent-2")
    await runners.restart("agent-2")


def authorised(person: Client) -> dict[str, str]:
    return {"Authorization": person.http.headers["authorization"]}


async def test_a_socket_is_told_to_move_and_closed_as_a_restart(runners: Runners, person: Client) -> None:
    conversation = await person.create()
    address = f"{await runners.direct('agent-3')}/c/{conversation}/ws".replace("http", "ws")
    async with connect(address, additional_headers=authorised(person)) as socket:
        await socket.recv()
        runners.drain("agent-3", within_s=0)
        said = []
        with suppress(ConnectionClosed):
            async for raw in socket:
                said.append(json.loads(raw)["type"])
    assert said[-1] == "moving"
    assert socket.close_code == 1012
    await runners.terminate("agent-3")
    await runners.restart("agent-3")


async def test_a_sole_agent_that_drains_keeps_its_streams_to_the_end(stores: Stores, provider: FakeProvider) -> None:
    async with running_runners(stores, provider, 1) as sole:
        _, token = await sole.sign_in()
        person = Client(sole.url, token)
        turns = await turns_on(sole, person, "agent-1", 2, "tokens=100 delay=20ms")
        sole.drain("agent-1", within_s=PATIENCE_S)
        for *_, reader in turns:
            kinds = [event["type"] for event in await asyncio.wait_for(reader, PATIENCE_S)]
            assert kinds[-1] == "done"
            assert "moving" not in kinds
        await sole.until_drained("agent-1")
        await person.aclose()
