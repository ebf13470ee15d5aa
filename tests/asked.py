"""Messages whose answers call tools, on runners that know the tools of the tests."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider
from tests.fakes.outside import Outside
from tests.runners import Runners, running_runners
from tests.stores import Stores
from tests.waiting import wait_until

FOLLOWING = "follows a turn"


@asynccontextmanager
async def tooled(
    stores: Stores, provider: FakeProvider, service: Outside, agents: int = 2, **more: str
) -> AsyncIterator[Runners]:
    """Run that many runners, the first of them primary; their tools act on `service`."""
    settings = {"TOOL_MODULES": "tests.fakes.tools", "OUTSIDE_URL": service.url, **more}
    async with running_runners(stores, provider, agents, **settings) as running:
        await running.promote("agent-1")
        yield running


@asynccontextmanager
async def signed_in(cluster: Runners, name: str = "ada") -> AsyncIterator[Client]:
    """A person at the gateway."""
    _, token = await cluster.sign_in(name)
    client = Client(cluster.url, token)
    yield client
    for task in asyncio.all_tasks():
        if task.get_name() == f"{FOLLOWING} for {id(client)}":  # of a test that failed
            task.cancel()
    await client.aclose()


def tool_directive(name: str, more: str = "quote", **arguments: Any) -> str:
    given = json.dumps(arguments, separators=(",", ":")).replace(" ", "\\u0020")  # directives end at a blank
    return f"[[tool={name}:{given} {more}]]"


class Asked:
    """A message whose answer calls a tool."""

    def __init__(self, person: Client, conversation: str, accepted: dict[str, Any]) -> None:
        self.person = person
        self.conversation = conversation
        self.turn = accepted["turn"]
        self.following = asyncio.create_task(
            follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"]),
            name=f"{FOLLOWING} for {id(person)}",
        )

    async def question(self) -> dict[str, Any]:
        """Wait for what its user is asked."""

        async def there() -> Any:
            return (await self.person.transcript(self.conversation))["questions"]

        return dict((await wait_until(there, of="a question"))[0])

    async def answer(self, question: dict[str, Any], answer: str, status: int = 200) -> dict[str, Any]:
        path = f"/api/v1/conversations/{self.conversation}/questions/{question['id']}"
        said = await self.person.http.post(path, json={"answer": answer})
        assert said.status_code == status, said.text
        return dict(said.json())

    async def events(self) -> list[dict[str, Any]]:
        return await asyncio.wait_for(self.following, 60)

    async def text(self) -> str:
        return str((await self.person.transcript(self.conversation))["messages"][-1]["text"])


async def ask(person: Client, text: str) -> Asked:
    conversation = await person.create()
    return Asked(person, conversation, await person.send(conversation, text))


async def owner(cluster: Runners, turn: str) -> str:
    row = await cluster.postgres.row("turn", task=turn)
    assert row is not None
    boots = {agent.boot: agent.id for agent in (await cluster.view()).agents}
    return boots[str(row["owner_boot"])]


async def kill_owner(cluster: Runners, asked: Asked) -> str:
    victim = await owner(cluster, asked.turn)
    await cluster.kill(victim, signal.SIGKILL)
    return victim


def states(events: list[dict[str, Any]]) -> list[str]:
    """How calls stood, one after the other. Whoever answers within a moment of the question's commit may see nothing of
    it in the stream: the next attempt speaks by then.
    """
    return [
        event["state"] for event in events if event["type"] == "tool" and event["state"] not in ("asked", "unknown")
    ]
