"""Turns whose streams are read while their agent goes, and the check that nobody noticed (FAULTS F26, I13)."""

import asyncio
import time
from typing import Any

import httpx2

from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider, expected_text
from tests.waiting import PATIENCE_S, wait_until

Followed = tuple[str, dict[str, Any], str, "asyncio.Task[list[dict[str, Any]]]"]
"""Conversation, what was accepted, the message, and who reads its events to the end."""


async def turns_on(cluster: Cluster, person: Client, agent_id: str, count: int, directive: str) -> list[Followed]:
    """Ask until that many turns, and the streams that show them, are on one agent."""
    boot = (await cluster.agent(agent_id)).boot
    found: list[Followed] = []
    while len(found) < count:
        conversation, message = await person.create(), f"drain {time.monotonic_ns()} [[{directive}]]"
        path = f"/api/v1/conversations/{conversation}/messages"
        # With the `try` of its stream, a message goes where that will be.
        accepted = (await person.http.post(path, json={"text": message}, params={"try": "0"})).json()
        turn = accepted["turn"]
        row = await cluster.postgres.row("turn", task=turn)
        if row is not None and str(row["owner_boot"]) == boot:
            reader = asyncio.create_task(follow_to_the_end(person, conversation, turn, accepted["cursor"]))
            if await is_followed_on(cluster, agent_id, len(found) + 1):
                found.append((conversation, accepted, message, reader))
                continue
            reader.cancel()
        await person.http.post(f"/api/v1/conversations/{conversation}/turns/{turn}/cancel")
    return found


async def is_followed_on(cluster: Cluster, agent_id: str, streams: int) -> bool:
    """Whether a stream more comes to an agent: nginx, told of one that is back, sends old connections another way."""

    async def there() -> bool:
        return await streams_of(cluster, agent_id) >= streams

    try:
        await wait_until(there, within_s=2, of=f"{streams} streams on {agent_id}")
    except AssertionError:
        return False
    return True


async def streams_of(cluster: Cluster, agent_id: str) -> int:
    port = (await cluster.agent(agent_id)).port
    async with httpx2.AsyncClient() as http:
        said = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    line = next(line for line in said.splitlines() if line.startswith("nexus_open_streams "))
    return int(float(line.split()[1]))


async def check_nobody_noticed(
    cluster: Cluster, person: Client, provider: FakeProvider, turns: list[Followed], *, attempts: set[int]
) -> None:
    """None lost, none doubled, none failed, and each stream was told to move before it broke."""
    for conversation, accepted, message, reader in turns:
        events = await asyncio.wait_for(reader, PATIENCE_S)
        kinds = [event["type"] for event in events]
        assert kinds[-1] == "done"
        assert kinds.count("done") == 1
        assert kinds.count("moving") == 1
        assert not {"failed", "cancelled", "retrying", "snapshot"} & set(kinds)
        assert {event["from"] for event in events if event["type"] == "attempt_restarted"} <= {""}, "nobody was lost"
        cursors = [event["cursor"] for event in events if event["cursor"]]
        assert cursors == await all_cursors(cluster, conversation)
        said = [it["text"] for it in (await person.transcript(conversation))["messages"]]
        assert said == [message, expected_text(message)]
        row = await cluster.postgres.row("turn", task=accepted["turn"])
        assert row is not None
        assert row["attempt"] in attempts
        assert (row["state"], row["fail_count"], row["crash_count"]) == ("done", 0, 0)
        assert len(await provider.calls(message)) == row["attempt"]


async def all_cursors(cluster: Cluster, conversation: str) -> list[str]:
    keys = cluster.redis.keys
    generation = await cluster.redis.data.get(keys.generation)
    entries: Any = await cluster.redis.data.xrange(keys.events(conversation))
    return [f"{generation!s}-{entry}" for entry, _ in entries]
