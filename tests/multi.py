"""Asking for sub-agents and looking at what became of them."""

from typing import Any
from urllib.parse import quote

from tests.client import Client, follow_to_the_end
from tests.fakes.models import FakeProvider


async def ask(person: Client, text: str) -> tuple[str, dict[str, Any]]:
    """Begin a conversation with this; return it and what was accepted."""
    conversation = await person.create()
    return conversation, await person.send(conversation, text)


async def answered(person: Client, text: str) -> tuple[str, list[dict[str, Any]]]:
    """Ask this and wait for the end; return the conversation and the events."""
    conversation, accepted = await ask(person, text)
    return conversation, await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])


def children_of(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last that was said of each sub-agent."""
    return {event["id"]: event for event in events if event["type"] == "child"}


async def calls_of(provider: FakeProvider, word: str) -> list[dict[str, Any]]:
    """The calls for a sub-agent whose goal has this word, not those that are told its result."""
    return [
        call
        for call in await provider.calls()
        if f"word={word}" in call["message"] and "<result" not in call["message"]
    ]


async def last_of(person: Client, conversation: str) -> dict[str, Any]:
    """The last committed message."""
    message: dict[str, Any] = (await person.transcript(conversation))["messages"][-1]
    return message


def plan_directive(*lines: str, name: str = "plan") -> str:
    """Let the fake model write this plan when it is asked for one."""
    return f"[[{name}={quote(chr(10).join(lines))}]]"
