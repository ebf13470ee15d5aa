"""Programs meet by address and port from the registry only: two agents on two hosts with nothing in common."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.client import Client, follow_to_the_end
from tests.cluster import ROOT, Cluster
from tests.fakes.models import FakeProvider, expected_text
from tests.namespaces import HOST, Hosts, may_be_made
from tests.stores import Stores
from tests.waiting import wait_until

WHY_NOT = may_be_made()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"no separate hosts: {WHY_NOT}")


async def forwarded(stack: AsyncExitStack, port: int) -> int:
    """Listen on the hosts' side and pass everything on to a loopback port, as a published port would."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other side went; closing ours says so
        finally:
            writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    server = await asyncio.start_server(join, HOST, 0)
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1])


class Split(Cluster):
    """A cluster whose agents live on hosts of their own."""

    hosts: Hosts
    reachable: dict[str, str]

    def start_agent(self, agent_id: str, **environment: str) -> None:
        here = {"AGENT_HOST": self.hosts.addresses[agent_id], **self.reachable}
        self._agents[agent_id] = subprocess.Popen(
            self.hosts.command(agent_id, sys.executable, "-m", "agent_image"),
            cwd=ROOT,
            env=self.environment_of(agent_id) | here | environment,
            process_group=0,
            stdout=self._log(agent_id),
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
async def split() -> AsyncIterator[Split]:
    async with AsyncExitStack() as stack:
        stores = Stores()
        await stores.start()
        stack.callback(stores.close)
        provider = await stack.enter_async_context(FakeProvider())
        cluster = Split(stores, provider)
        cluster.hosts = stack.enter_context(Hosts("agent-1", "agent-2"))
        ports = {
            name: await forwarded(stack, int(url.rpartition(":")[2].split("/")[0])) for name, url in stores.urls.items()
        }
        model = await forwarded(stack, provider.port)
        cluster.reachable = {
            "REDIS_URL": f"redis://{HOST}:{ports['redis_url']}",
            "POSTGRES_URL": f"postgresql://nexus@{HOST}:{ports['postgres_url']}/nexus",
            "MODEL_URL": f"http://{HOST}:{model}/v1",
        }
        stack.push_async_callback(cluster.close)
        await cluster.start(2)
        yield cluster


async def test_a_turn_goes_on_when_the_host_of_its_agent_vanishes(split: Split) -> None:
    _, token = await split.sign_in()
    client = Client(split.url, token)
    conversation = await client.create()
    message = "far away [[tokens=150 delay=20ms]]"
    accepted = await client.send(conversation, message)
    follower = asyncio.create_task(follow_to_the_end(client, conversation, accepted["turn"], accepted["cursor"]))

    async def owner() -> str | None:
        row = await split.postgres.row("turn", task=accepted["turn"])
        boots = {agent.boot: agent.id for agent in (await split.view()).agents}
        return boots.get(str(row["owner_boot"])) if row else None

    lost = await wait_until(owner, of="an owner of the turn")
    await wait_until(lambda: split.redis.data.xlen(split.redis.keys.events(conversation)), of="the first words")
    split.hosts.cut(lost)
    try:
        events = await asyncio.wait_for(follower, 40)
    finally:
        split.hosts.join(lost)
    restarted = next(event for event in events if event["type"] == "attempt_restarted")
    assert (restarted["from"], restarted["agent"] != lost) == (lost, True)
    assert (await client.transcript(conversation))["messages"][-1]["text"] == expected_text(message)
    await split.until_active(2)
    await client.aclose()


async def test_the_agents_see_neither_each_others_files_nor_network(split: Split) -> None:
    first, second = [(await split.agent(name)).keeper_pid for name in ("agent-1", "agent-2")]
    for kind in ("net", "mnt"):
        spaces = {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for pid in (first, second, os.getpid())}
        assert len(spaces) == 3, kind
