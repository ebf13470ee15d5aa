"""One sub-agent: a task of kind `sub_agent`, answered by whichever agent takes it, with tools that ask nobody."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from agent_image.runner.llm import ChatMessage
from agent_image.runner.multi.plan import ROLES
from agent_image.runner.turns.rounds import Asking, Rounds, Unheard
from appliance.core import logs
from appliance.core.errors import StoreAway
from appliance.core.records import Task

log = logs.get("runner")
T = TypeVar("T")
KIND = "sub_agent"
SPAWN = "spawn_sub_agent"
"""The tool that sub-agents are not given: they would multiply."""
_STORE_RETRY_S = 0.25


class SubAgent:
    """Runs tasks of this kind. Their payload: role, goal, question, and inputs by name of who found them."""

    def __init__(self, agent: str, asking: Asking) -> None:
        self._agent = agent
        tools = msgspec.structs.replace(asking.tools, box=asking.tools.box.unasked(without=SPAWN))
        self._asking = msgspec.structs.replace(asking, tools=tools)

    async def __call__(self, task: Task) -> dict[str, Any]:
        """Answer the goal; a call that an earlier attempt finished is replayed, not paid twice.

        Raises:
            ModelError: no model answers: a failed try. StaleAttempt: somebody else has it.
        """
        answer = Unheard()
        rounds = Rounds(task, self._asking, answer, _Holding(), time.monotonic())
        await rounds.run(messages_of(task.payload))
        facts = rounds.facts()
        tokens = facts["input_tokens"] + facts["output_tokens"]
        return {"text": answer.text, "agent": self._agent, "model": facts["model"], "tokens": tokens}


class _Holding:
    """How an attempt of a task waits: whoever ends it cancels it."""

    async def patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a fenced step until the stores answer (PROTOCOLS 6.5): same attempt, so repeating is safe."""
        while True:
            try:
                return await step()
            except StoreAway as error:
                log.warning("waiting_for_store", error=str(error))
            await asyncio.sleep(_STORE_RETRY_S)

    async def endable(self, work: Awaitable[T]) -> T:
        """Do it."""
        return await work


def messages_of(payload: dict[str, Any]) -> tuple[ChatMessage, ...]:
    """Return what a sub-agent's model is told; what others found is quoted, as data."""
    found = "".join(quoted(name, text) for name, text in payload["inputs"].items())
    larger = f"\n\nThis is part of a larger question: {payload['question']}" if payload["question"] else ""
    return ChatMessage("system", ROLES[payload["role"]]), ChatMessage("user", f"{payload['goal']}{larger}{found}")


def quoted(name: str, text: str) -> str:
    """Return one result as a prompt quotes it."""
    return f"\n\n<result of={name!r}>\n{text}\n</result>"
