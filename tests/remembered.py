"""A person at the API of a cluster that remembers: says something, and looks at what is remembered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from appliance.core.memory.items import Item, Keeping, Origin, Trust
from appliance.core.memory.store import MemoryStore
from appliance.core.records import User
from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster, running_cluster
from tests.fakes.embedder import MODEL, FakeEmbedder
from tests.waiting import wait_until


@asynccontextmanager
async def remembering(agents: int, embedder: FakeEmbedder, **more: str) -> AsyncIterator[Cluster]:
    """Run a cluster whose agents remember; a slow machine is given time."""
    async with running_cluster(
        agents, EMBEDDING_URL=embedder.url, EMBEDDING_MODEL=MODEL, CLUSTER_MEMORY_RECALL_DISTANCE="0.9",
        CLUSTER_MEMORY_RECALL_WITHIN="4", CLUSTER_MIN_SECONDARIES="0", MEMORY_EXTRACTION="rules", **more,
    ) as running:  # fmt: skip
        yield running


@asynccontextmanager
async def person(cluster: Cluster, name: str) -> AsyncIterator["Person"]:
    """Sign somebody in of whom nothing is remembered."""
    user, token = await cluster.sign_in(f"{name}-{uuid4().hex[:8]}")
    client = Client(cluster.url, token)
    yield Person(cluster, user, client)
    await client.aclose()


class Person:
    """A person at the API, and what is remembered of them."""

    def __init__(self, cluster: Cluster, user: User, client: Client) -> None:
        self.cluster, self.user, self.client = cluster, user, client
        self.store = MemoryStore(cluster.postgres)

    @property
    def http(self) -> Any:
        return self.client.http

    async def say(self, text: str, conversation: str = "") -> dict[str, Any]:
        """Say something; return the committed answer, with the events of its turn."""
        conversation = conversation or await self.client.create()
        accepted = await self.client.send(conversation, text)
        events = await follow_to_the_end(self.client, conversation, accepted["turn"], accepted["cursor"])
        answer: dict[str, Any] = (await self.client.transcript(conversation))["messages"][-1]
        return answer | {"events": events, "in": conversation}

    async def ask(self, text: str) -> dict[str, Any]:
        """Like `say`, until memory was at hand: a store that stalls costs an answer its memories, on purpose."""

        async def at_hand() -> dict[str, Any] | None:
            answer = await self.say(text)
            return None if "memory_note" in answer["meta"] else answer

        found: dict[str, Any] = await wait_until(at_hand, of="an answer that was made with memory at hand")
        return found

    async def remember(self, text: str, trust: Trust = "user") -> str:
        """Let a memory be found by its meaning; return its id."""
        [keeping] = [Keeping(item=Item(text=text, trust=trust, origin=Origin("page")))]
        kept = None
        while kept is None:
            kept = await self.store.keep(self.user, await self.store.seen(self.user), [keeping])
        assert kept.settled[0].id
        await self.until_found(text)
        return kept.settled[0].id

    async def until_found(self, text: str) -> None:
        async def found() -> bool:
            answer = await self.http.get("/api/v1/memories", params={"q": text})
            body = answer.raise_for_status().json()
            return not body["note"] and any(it["text"] == text for it in body["memories"])

        await wait_until(found, of=f"{text!r} in the index")


_REWIND = (
    "delete from promotions where conversation_id = %s",
    "update tasks set idem_key = idem_key || ':' || id where kind = 'promote' and payload->>'conversation' = %s",
    "update conversations set promoted_turn = 0, idle_since = now() - interval '1 hour' where id = %s",
)


async def replay(cluster: Cluster, conversation: str, turns: int) -> None:
    """Have an old conversation read for memories again, as if nobody had, and wait until all its turns are."""
    async with cluster.sql() as sql:
        async with sql.transaction():
            for statement in _REWIND:
                await sql.execute(statement.encode(), [conversation])

        async def read_again() -> bool:
            stamps = await sql.execute(
                "select 1 from promotions where conversation_id = %s and to_turn = %s", [conversation, turns]
            )
            return await stamps.fetchone() is not None

        await wait_until(read_again, of="another reading of the old conversation")
