"""Reminders and jobs on real runners: answered without a model, fired once, late rather than never."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from appliance.core.records import Role
from tests.client import SILENCE_S, Client, follow_to_the_end, within
from tests.fakes.models import FakeProvider
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import wait_until

FAR = "/remind in 5 days call Ada"


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider) -> AsyncIterator[Runners]:
    """Two runners; the first is primary."""
    async with running_runners(stores, provider, 2, TIME_ZONE="Europe/Berlin", CLUSTER_MIN_SECONDARIES="0") as runners:
        await runners.promote("agent-1")
        yield runners


async def signed_in(two: Runners, name: str = "") -> Client:
    _, token = await two.sign_in(name or f"p-{uuid4().hex[:8]}")
    return Client(two.url, token)


@pytest.fixture
async def person(two: Runners) -> AsyncIterator[Client]:
    client = await signed_in(two)
    yield client
    await client.aclose()
    async with two.sql() as connection:
        await connection.execute("update schedules set state = 'cancelled'")


async def say(person: Client, text: str, conversation: str = "") -> tuple[str, str]:
    """Say something; return the conversation and the answer."""
    conversation = conversation or await person.create()
    accepted = await person.send(conversation, text)
    await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])
    return conversation, str((await person.transcript(conversation))["messages"][-1]["text"])


async def until_said(person: Client, conversation: str, messages: int) -> list[str]:
    """Wait for so many messages; return their texts."""

    async def said() -> list[str]:
        answer = await person.http.get(f"/api/v1/conversations/{conversation}")
        found = answer.raise_for_status().json()["messages"]  # for a moment after a death nobody may answer
        return [it["text"] for it in found] if len(found) >= messages else []

    return list(await wait_until(said, of=f"{messages} messages"))


async def lead(two: Runners, agent: str) -> None:
    """Make an agent the only primary."""
    for page in two.pages.values():
        page.role = Role.SECONDARY
    await two.promote(agent)


async def now_due(two: Runners, minutes: int = 0) -> None:
    """Let time pass: everything that is to come has been due for so long."""
    async with two.sql() as connection:
        await connection.execute(
            "update schedules set next_at = now() - make_interval(mins => %s) where state = 'active'",
            [minutes],
        )


async def schedules(person: Client) -> list[dict[str, Any]]:
    return list((await person.http.get("/api/v1/schedules")).raise_for_status().json())


async def test_a_reminder_is_set_and_comes_and_no_model_is_asked(person: Client, provider: FakeProvider) -> None:
    asked = len(await provider.calls())
    conversation, answer = await say(person, "/remind in 1 second call **Ada**")
    assert answer.startswith("Reminder 1 is set for ")
    assert "(Europe/Berlin): call **Ada**\n\n`/forget 1` cancels it." in answer
    texts = await until_said(person, conversation, 4)
    assert texts[2].startswith("Reminder 1: ")
    assert texts[3] == "call **Ada**"
    assert len(await provider.calls()) == asked
    assert await schedules(person) == []


async def test_an_open_page_is_told_of_a_reminder_as_of_any_turn(two: Runners, person: Client) -> None:
    conversation, _ = await say(person, FAR)
    feed = person.events(conversation)
    await anext(feed)  # it begins with a snapshot, after all that was said before
    await now_due(two)
    told: list[dict[str, Any]] = []
    async for event in within(feed, SILENCE_S):
        told += [] if event["type"] == "ping" else [event]
        if event["type"] == "done":
            break
    await feed.aclose()
    assert [it["type"] for it in told] == ["started", "token", "done"]
    assert (told[0]["text"].startswith("Reminder 1: "), told[1]["text"]) == (True, "call Ada")


async def test_an_open_page_is_told_at_once_of_a_reminder_that_waits_behind_a_turn(
    two: Runners, person: Client
) -> None:
    conversation, _ = await say(person, FAR)
    running = (await person.send(conversation, "talk [[endless delay=20ms]]"))["turn"]
    feed = person.events(conversation)
    await now_due(two)
    told: list[dict[str, Any]] = []
    async for event in within(feed, SILENCE_S):
        told += [event] if event.get("turn") not in (None, "", running) else []
        if event["type"] == "accepted" and told:
            await person.http.post(f"/api/v1/conversations/{conversation}/turns/{running}/cancel")
        if told and event["type"] == "done":
            break
    await feed.aclose()
    assert [it["type"] for it in told] == ["accepted", "started", "token", "done"]
    assert (told[0]["text"].startswith("Reminder 1: "), told[0]["queued"]) == (True, True)
    assert told[0]["message_id"] in {it["id"] for it in (await person.transcript(conversation))["messages"]}


async def test_a_job_is_answered_by_a_model(two: Runners, person: Client, provider: FakeProvider) -> None:
    conversation, answer = await say(person, '/every tz=UTC "0 8 * * 1-5" sum up [[tokens=2 word=news]]')
    assert answer.startswith("Job 1 runs by `0 8 * * 1-5`, next ")
    await now_due(two)
    texts = await until_said(person, conversation, 4)
    assert texts[2:] == ["sum up [[tokens=2 word=news]]", "news1 news2"]
    (it,) = await schedules(person)
    assert (it["state"], it["cron"], it["last_fired_at"] is not None) == ("active", "0 8 * * 1-5", True)


async def test_what_is_planned_is_listed_and_forgotten_by_number(person: Client) -> None:
    conversation, _ = await say(person, FAR)
    _, listed = await say(person, "/reminders", conversation)
    assert listed.startswith("- **1** ")
    assert listed.endswith(" (Europe/Berlin): call Ada")
    assert (await say(person, "/forget 1", conversation))[1] == "Reminder 1 (call Ada) is cancelled."
    assert (await say(person, "/reminders", conversation))[1].startswith("You have no reminders")
    assert (await say(person, "/forget 9", conversation))[1].startswith("There is no such reminder or job of yours")


async def test_a_command_that_cannot_be_is_refused_before_anything_is_kept(person: Client) -> None:
    conversation = await person.create()
    answer = await person.http.post(
        f"/api/v1/conversations/{conversation}/messages", json={"text": "/remind tz=Berlin in 1 hour x"}
    )
    assert (answer.status_code, "write it like Europe/Berlin" in answer.json()["detail"]) == (400, True)
    assert (await person.transcript(conversation))["messages"] == []


async def test_programs_set_and_cancel_over_json_and_the_same_id_is_one(person: Client) -> None:
    conversation, id_ = await person.create(), str(uuid4())
    body = {"id": id_, "conversation": conversation, "text": "call Ada", "at": "2030-12-01T09:00:00+01:00"}
    for _ in range(2):
        made = await person.http.post("/api/v1/schedules", json=body)
        assert made.status_code == 201, made.text
    job = {"conversation": conversation, "text": "x", "cron": "0 8 * * *", "time_zone": "Asia/Tokyo", "missed": "skip"}
    assert (await person.http.post("/api/v1/schedules", json=job)).json()["missed"] == "skip"
    listed = {it["id"]: it for it in await schedules(person)}
    assert listed[id_]["next_at"] == "2030-12-01T08:00:00Z"
    assert sorted(it["no"] for it in listed.values()) == [1, 2]
    assert (await person.http.delete(f"/api/v1/schedules/{id_}")).status_code == 204
    assert [it["kind"] for it in await schedules(person)] == ["cron"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, 'Send either "at"'),
        ({"at": "2030-12-01T09:00:00Z", "cron": "0 8 * * *"}, 'Send either "at"'),
        ({"at": "2030-12-01T09:00:00"}, 'Say which time zone "at" is meant in'),
        ({"at": "2020-12-01T09:00:00Z"}, "is past"),
        ({"cron": "0 8 * *"}, "five fields"),
        ({"cron": "0 8 * * *", "text": " "}, "The message is empty"),
    ],
)
async def test_what_cannot_be_is_refused_over_json_too(person: Client, wrong: dict[str, str], why: str) -> None:
    body = {"conversation": await person.create(), "text": "call Ada"} | wrong
    answer = await person.http.post("/api/v1/schedules", json=body)
    assert answer.status_code == 400
    assert why in answer.json()["detail"]


async def test_nobody_else_can_see_or_cancel_it(two: Runners, person: Client) -> None:
    conversation, _ = await say(person, FAR)
    (mine,) = await schedules(person)
    eve = await signed_in(two)
    assert await schedules(eve) == []
    assert (await eve.http.delete(f"/api/v1/schedules/{mine['id']}")).status_code == 404
    assert (await say(eve, "/forget 1"))[1].startswith("There is no such reminder")
    body = {"conversation": conversation, "text": "x", "at": "2030-12-01T09:00:00Z"}
    assert (await eve.http.post("/api/v1/schedules", json=body)).status_code == 404
    await eve.aclose()
    assert [it["id"] for it in await schedules(person)] == [mine["id"]]


async def test_a_redis_that_lost_everything_loses_no_reminder(two: Runners, person: Client) -> None:
    conversation, _ = await say(person, FAR)
    keys = [key async for key in two.redis.data.scan_iter(f"{two.prefix}*")]
    await two.redis.data.delete(*keys)
    await two.until_active(2)
    await now_due(two)
    assert (await until_said(person, conversation, 4))[3] == "call Ada"


async def settled(person: Client, conversation: str) -> list[str]:
    """What was said once all there is has been fired and answered: a sweep after the last word adds nothing."""

    async def elsewhere() -> str:
        answer = await person.http.post("/api/v1/conversations", json={})
        return str(answer.raise_for_status().json()["id"])  # the gateway may not know of a restarted agent yet

    await say(person, "/remind in 1 second the end", await wait_until(elsewhere, of="another conversation"))

    async def over() -> bool:
        return all(it["text"] != "the end" for it in await schedules(person))

    await wait_until(over, of="a later reminder")
    return [it["text"] for it in (await person.transcript(conversation))["messages"]]


async def test_the_primary_dies_between_fire_and_answer_and_it_is_answered_once(two: Runners, person: Client) -> None:
    conversation, _ = await say(person, FAR)
    await two.kill("agent-1")
    await two.restart("agent-1", NEXUS_FAILPOINTS="after_fire:kill")
    await lead(two, "agent-1")
    doomed = two._agents["agent-1"]
    await now_due(two)

    async def dead() -> bool:
        return doomed.poll() is not None

    await wait_until(dead, of="the primary's death")
    assert (await until_said(person, conversation, 4))[3] == "call Ada"
    await lead(two, "agent-2")
    assert len(await settled(person, conversation)) == 4
    await two.restart("agent-1")
    await lead(two, "agent-1")


async def test_a_command_whose_agent_dies_before_it_is_committed_is_carried_out_once(
    two: Runners, person: Client
) -> None:
    await two.kill("agent-1")
    await two.restart("agent-1", NEXUS_FAILPOINTS="before_commit:kill")
    token = person.http.headers["authorization"].removeprefix("Bearer ")
    direct = Client(await two.direct("agent-1"), token)
    conversation = await person.create()
    await direct.send(conversation, FAR)
    await direct.aclose()
    texts = await until_said(person, conversation, 2)
    assert texts[1].startswith("Reminder 1 is set for ")
    assert [it["no"] for it in await schedules(person)] == [1]
    await two.restart("agent-1")
    await lead(two, "agent-1")


@pytest.mark.parametrize(("missed", "runs"), [("once", 1), ("skip", 0)])
async def test_after_an_outage_longer_than_three_periods(two: Runners, person: Client, missed: str, runs: int) -> None:
    half_an_hour_on = datetime.now(UTC) + timedelta(minutes=30)
    job = f'/every missed={missed} "{half_an_hour_on.minute} * * * *" sum up [[tokens=2]]'
    conversation, _ = await say(person, job)
    for agent in ("agent-1", "agent-2"):
        await two.kill(agent)
    await now_due(two, minutes=210)
    for agent in ("agent-1", "agent-2"):
        await two.restart(agent)
    await lead(two, "agent-1")

    async def moved_on() -> bool:
        async with two.sql() as connection:
            found = await connection.execute("select 1 from schedules where state = 'active' and next_at <= now()")
            return await found.fetchone() is None

    await wait_until(moved_on, of="the next instant")
    said = await settled(person, conversation)
    assert said.count("sum up [[tokens=2]]") == runs
