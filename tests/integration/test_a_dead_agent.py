"""What befalls agents, and what must not befall their users (PROTOCOLS 6, 7.3)."""

import asyncio
import os
import signal
from typing import Any

from appliance.core.records import Agent
from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider, expected_text
from tests.waiting import wait_until


async def asked(client: Client, cluster: Cluster, message: str) -> tuple[str, dict[str, Any], Agent]:
    """Ask in a new conversation; return it, what was accepted, and the agent that answers, once it does."""
    conversation = await client.create()
    accepted = await client.send(conversation, message)

    async def owner() -> Agent | None:
        row = await cluster.postgres.row("turn", task=accepted["turn"])
        agents = {agent.boot: agent for agent in (await cluster.view()).agents}
        return agents.get(str(row["owner_boot"])) if row else None

    found: Agent = await wait_until(owner, of="an owner of the turn")
    await wait_until(lambda: _writes(cluster, conversation), of="the first words")
    return conversation, accepted, found


async def _writes(cluster: Cluster, conversation: str) -> bool:
    return bool(await cluster.redis.data.xlen(cluster.redis.keys.events(conversation)) > 5)


async def test_a_frozen_agents_turn_goes_on_elsewhere_and_its_late_words_are_refused(
    cluster: Cluster, client: Client
) -> None:
    message = "frozen [[tokens=150 delay=20ms]]"
    conversation, accepted, lost = await asked(client, cluster, message)
    follower = asyncio.create_task(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]))
    await cluster.freeze(lost.id)
    try:
        events = await asyncio.wait_for(follower, 25)
    finally:
        await cluster.thaw(lost.id)
    restarted = next(event for event in events if event["type"] == "attempt_restarted")
    assert restarted["from"] == lost.id
    assert restarted["agent"] != lost.id
    await cluster.until_active(3)
    after = [event async for event in _until_quiet(client, conversation, events[-1]["cursor"])]
    assert after == [], "the zombie said something after the end"
    assert (await client.transcript(conversation))["messages"][-1]["text"] == expected_text(message)


async def test_an_agent_that_freezes_twice_is_let_go_of_twice(cluster: Cluster, client: Client) -> None:
    """The same boot, silent for less than its death each time."""
    boot = (await cluster.agent("agent-1")).boot
    for _ in range(2):
        conversation, accepted = await claimed_by(cluster, client, boot)
        await cluster.freeze("agent-1")

        async def let_go(turn: str = accepted["turn"]) -> bool:
            row = await cluster.postgres.row("turn", task=turn)
            return row is not None and str(row["owner_boot"]) != boot

        try:
            await wait_until(let_go, of="the release of a silent boot's turn")
            assert not await cluster.postgres.value("boot_is_dead", boot=boot), "released before it counted as dead"
        finally:
            await cluster.thaw("agent-1")
        await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
        await cluster.until_active(3)


async def claimed_by(cluster: Cluster, client: Client, boot: str) -> tuple[str, dict[str, Any]]:
    """Ask in new conversations until this boot answers one."""
    while True:
        conversation, accepted, owner = await asked(client, cluster, "twice [[tokens=300 delay=20ms]]")
        if owner.boot == boot:
            return conversation, accepted
        await client.http.post(f"/api/v1/conversations/{conversation}/turns/{accepted['turn']}/cancel")


async def _until_quiet(client: Client, conversation: str, cursor: str) -> Any:
    pings = 0
    async for event in client.events(conversation, cursor):
        pings += event["type"] == "ping"
        if event["type"] not in ("ping", "waiting_for_store", "store_back"):  # of the stream, not of a turn
            yield event
        if pings == 3:
            return


async def test_a_killed_runner_is_replaced_by_its_keeper_and_the_turn_goes_on(cluster: Cluster, client: Client) -> None:
    message = "runner [[tokens=100 delay=20ms]]"
    conversation, accepted, lost = await asked(client, cluster, message)
    follower = asyncio.create_task(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]))
    os.kill(lost.runner_pid, signal.SIGKILL)
    events = await asyncio.wait_for(follower, 25)
    assert next(event for event in events if event["type"] == "attempt_restarted")["from"] == lost.id

    async def new_boot() -> bool:
        agent = await cluster.agent(lost.id)
        return agent.boot != lost.boot and agent.keeper_pid == lost.keeper_pid and agent.status == "active"

    await wait_until(new_boot, of="a new boot under the same keeper")
    await cluster.until_active(3)


async def test_a_runner_never_outlives_its_keeper(cluster: Cluster) -> None:
    agent = await cluster.kill_keeper("agent-2")

    async def gone() -> bool:
        try:
            os.kill(agent.runner_pid, 0)
        except ProcessLookupError:
            return True
        return False

    await wait_until(gone, within_s=3, of="the end of the runner")
    cluster.start_agent("agent-2")
    await cluster.until_active(3)


async def test_a_duplicate_agent_id_is_refused_and_the_healthy_one_stays(cluster: Cluster) -> None:
    healthy = await cluster.agent("agent-3")
    process = await asyncio.create_subprocess_exec(
        *cluster.command, env=cluster.environment_of("agent-3"), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"Another live process already runs under this agent id" in said
    assert (await cluster.agent("agent-3")).boot == healthy.boot


async def test_sigterm_hands_work_back_and_ends_with_zero(cluster: Cluster, client: Client) -> None:
    message = "drained [[tokens=200 delay=20ms]]"
    conversation, accepted, leaving = await asked(client, cluster, message)
    follower = asyncio.create_task(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]))
    assert await cluster.terminate(leaving.id) == 0
    events = await asyncio.wait_for(follower, 25)
    assert events[-1]["type"] == "done"
    cluster.start_agent(leaving.id)
    await cluster.until_active(3)


async def test_a_finished_answer_of_a_dead_agent_is_not_paid_for_twice(
    cluster: Cluster, client: Client, provider: FakeProvider
) -> None:
    """The step is done, the commit never came: the next attempt replays the row."""
    conversation = await client.create()
    accepted = await client.send(conversation, "paid [[tokens=5 word=paid]]")
    await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    async with cluster.sql() as sql:
        await sql.execute("delete from messages where task_id = %s and role = 'assistant'", [accepted["turn"]])
        await sql.execute("update tasks set state = 'queued', announced_at = null where id = %s", [accepted["turn"]])

    async def answered_again() -> Any:
        return next((m for m in (await client.transcript(conversation))["messages"] if m["role"] == "assistant"), None)

    again = await wait_until(answered_again, of="the second commit")
    assert again["text"] == expected_text("paid [[tokens=5 word=paid]]")
    assert again["meta"]["attempt"] == 2
    assert len(await provider.calls("paid [[tokens=5 word=paid]]")) == 1


async def test_an_end_that_went_unsaid_is_said_by_the_primary(cluster: Cluster, client: Client) -> None:
    conversation = await client.create()
    accepted = await client.send(conversation, "unsaid [[tokens=3]]")
    events = await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    async with cluster.sql() as sql:
        await sql.execute("update tasks set announced_at = null where id = %s", [accepted["turn"]])
    again = await asyncio.wait_for(follow_to_the_end(client, conversation, accepted["turn"], events[-1]["cursor"]), 10)
    assert again[-1]["type"] == "done"
    assert again[-1]["checksum"] == events[-1]["checksum"]


async def test_a_turn_whose_claim_was_never_heard_of_is_let_go_and_answered(cluster: Cluster, client: Client) -> None:
    """The row names a living boot, but the reply to its claim was lost on the way (PROTOCOLS F24)."""
    conversation = await client.create()
    accepted = await client.send(conversation, "unheard [[tokens=3]]")
    await follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"])
    boot = (await cluster.agent("agent-1")).boot
    async with cluster.sql() as sql:
        await sql.execute("delete from messages where task_id = %s and role = 'assistant'", [accepted["turn"]])
        await sql.execute(
            "update tasks set state = 'running', owner_boot = %s, attempt = attempt + 1 where id = %s",
            [boot, accepted["turn"]],
        )

    async def answered() -> bool:
        return bool((await client.transcript(conversation))["messages"][-1]["role"] == "assistant")

    await wait_until(answered, of="the answer by another attempt")


async def test_a_primarys_stalled_runner_is_killed_by_its_keeper_and_its_work_goes_on(
    cluster: Cluster, client: Client
) -> None:
    async def primary() -> Agent | None:
        view = await cluster.view()
        return view.agent(view.primary_id) if view.primary_id else None

    stalled: Agent = await wait_until(primary, of="a primary")
    os.kill(stalled.runner_pid, signal.SIGSTOP)

    async def replaced() -> bool:
        agent = await cluster.agent(stalled.id)
        return agent.boot != stalled.boot and agent.keeper_pid == stalled.keeper_pid and agent.status == "active"

    await wait_until(replaced, within_s=15, of="a new runner under the same keeper")
    await cluster.until_active(3)
