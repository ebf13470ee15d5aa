"""One sub-agent: a task of kind `sub_agent`, which is one journaled model call on whichever agent takes it."""

from contextlib import aclosing
from typing import Any

from agent_image.runner.llm import ChatMessage, Chunk, Finish, ModelRequest, Route, Router
from agent_image.runner.multi.plan import ROLES
from appliance.core.errors import StaleAttempt
from appliance.core.records import Task
from appliance.core.task_ledger import TaskLedger

KIND = "sub_agent"
_STEP = 1


class SubAgent:
    """Runs tasks of this kind. Their payload: role, goal, question, and inputs by name of who found them."""

    def __init__(self, agent: str, boot: str, ledger: TaskLedger, router: Router, *, max_tokens: int) -> None:
        self._agent = agent
        self._boot = boot
        self._ledger = ledger
        self._router = router
        self._max_tokens = max_tokens

    async def __call__(self, task: Task) -> dict[str, Any]:
        """Answer the goal; a call that an earlier attempt finished is replayed, not paid twice.

        Raises:
            ModelError: no model answers: a failed try. StaleAttempt: somebody else has it.
        """
        messages = messages_of(task.payload)
        text = "\n".join(f"{it.role}: {it.text}" for it in messages)
        step = await self._ledger.begin_step(task, self._boot, _STEP, kind="model", name="", input_text=text)
        if step.done and step.result is not None:
            return step.result
        result = await self._ask(task, messages)
        kept = await self._ledger.finish_step(task, _STEP, name=result["model"], result=result, tokens=result["tokens"])
        if not kept:
            raise StaleAttempt(task=task.id, attempt=task.attempt)
        return result

    async def _ask(self, task: Task, messages: tuple[ChatMessage, ...]) -> dict[str, Any]:
        request = ModelRequest(messages, self._max_tokens, idem_key=f"{task.id}:{_STEP}", trace_id=task.trace_id)
        pieces: list[str] = []
        model, tokens = "", 0
        async with aclosing(self._router.stream(request)) as parts:
            async for part in parts:
                match part:
                    case Chunk():
                        pieces.append(part.text)
                    case Route():
                        model = part.model
                    case Finish():
                        tokens = part.usage.input_tokens + part.usage.output_tokens
        return {"text": "".join(pieces), "agent": self._agent, "model": model, "tokens": tokens}


def messages_of(payload: dict[str, Any]) -> tuple[ChatMessage, ...]:
    """Return what a sub-agent's model is told; what others found is quoted, as data."""
    found = "".join(quoted(name, text) for name, text in payload["inputs"].items())
    larger = f"\n\nThis is part of a larger question: {payload['question']}" if payload["question"] else ""
    return ChatMessage("system", ROLES[payload["role"]]), ChatMessage("user", f"{payload['goal']}{larger}{found}")


def quoted(name: str, text: str) -> str:
    """Return one result as a prompt quotes it."""
    return f"\n\n<result of={name!r}>\n{text}\n</result>"
