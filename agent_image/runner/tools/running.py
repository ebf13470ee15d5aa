"""One call of a tool as a journaled step: asked for, made, kept; never made twice in silence (PROTOCOLS 7.2).

A finished call is replayed. One that was begun and not finished is made again with the same key if it is pure or
idempotent; one with side effects has an unknown outcome, and its user says what to do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec

from agent_image.runner.llm import ToolCall
from agent_image.runner.tools.tool import Call, Tool, ToolFailed
from agent_image.runner.tools.toolbox import Toolbox
from appliance.core import logs
from appliance.core.approvals import Approval, Approvals
from appliance.core.errors import BadInput, StaleAttempt
from appliance.core.metrics import TOOL_CALLS
from appliance.core.records import Task, Turn, User
from appliance.core.task_ledger import Step, TaskLedger, hash_of

log = logs.get("tools")
T = TypeVar("T")
MAX_RESULT = 20_000
"""Characters of a result that a model reads."""
SHOWN = 2000
"""Characters of a result that the chat shows."""
NOT_CALLED = {
    "deny": "Your user did not allow this call; it was not made.",
    "expired": "Nobody allowed this call in time; it was not made.",
    "withdrawn": "The turn was stopped; this call was not made.",
}
SETTLED = {
    "happened": "The connection to this call was lost; your user says that it did happen.",
    "skip": "The connection to this call was lost; whether it happened is not known, and it is not made again.",
    "expired": "The connection to this call was lost; whether it happened is not known, and nobody said in time.",
    "withdrawn": "The turn was stopped; whether this call happened is not known.",
}


class Asked(Exception):
    """A person is asked; this attempt has ended, and the answer queues its task again."""

    def __init__(self, approval: Approval) -> None:
        self.approval = approval


class Holding(Protocol):
    """How an attempt waits."""

    async def patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a fenced step until the stores answer."""

    async def endable(self, work: Any) -> Any:
        """Do what the end of the attempt ends."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What calls need."""

    agent: str
    boot: str
    box: Toolbox
    ledger: TaskLedger
    approvals: Approvals
    timeout_s: float


class ToolRun:
    """One call in one attempt of a turn or task; `facts` say how it stands."""

    def __init__(self, work: Turn | Task, no: int, asked: ToolCall, parts: Parts, holding: Holding, show: Any) -> None:
        self._work = work
        self._no = no
        self._asked = asked
        self._parts = parts
        self._holding = holding
        self._show = show
        self.facts: dict[str, Any] = {"no": no, "name": asked.name, "input": {}, "agent": parts.agent}

    async def run(self) -> str:
        """Return what the model is told of the call.

        Raises:
            Asked: a person is asked first. StaleAttempt: somebody else has the turn.
        """
        await self._holding.endable(self._parts.box.ready(self._asked.name))
        try:
            tool = self._parts.box.find(self._asked.name)
            given = tool.read(self._asked.arguments)
        except BadInput as error:
            return self._ended("failed", error.detail)
        self.facts["input"] = msgspec.to_builtins(given)
        if tool.approval and (answer := await self._answer(tool, about=0)) != "allow":
            return self._ended("denied", NOT_CALLED[answer])
        step = await self._begin(tool)
        if step.state == "unknown":
            step = await self._settle(tool, step)
        if step.done:
            result = step.result or {}
            return self._ended(result["state"], result["text"], result.get("seconds", 0.0))
        return await self._make(tool, given, step)

    async def _begin(self, tool: Tool) -> Step:
        return await self._holding.patiently(
            lambda: self._parts.ledger.begin_step(
                self._work, self._parts.boot, self._no, kind="tool", name=tool.spec.name,
                input_text=self._asked.arguments, effect=tool.effect, given=self.facts["input"],
            )
        )  # fmt: skip

    async def _answer(self, tool: Tool, *, about: int) -> str:
        """Return a person's answer; Asked when it is still to come."""
        approval = await self._holding.patiently(
            lambda: self._parts.approvals.ask(
                self._work, self._parts.boot, self._no, about=about, tool=tool.spec.name, given=self.facts["input"],
                input_hash=hash_of(self._asked.arguments),
            )
        )  # fmt: skip
        if approval.answer is None:
            self._say("asked" if about == 0 else "unknown")
            raise Asked(approval)
        return approval.answer

    async def _settle(self, tool: Tool, step: Step) -> Step:
        """Ask what became of a call that nobody heard the end of, and do as told."""
        answer = await self._answer(tool, about=step.attempt)
        result = None if answer == "again" else {"text": SETTLED[answer], "state": "unknown"}
        parts = self._parts
        await self._holding.patiently(lambda: parts.approvals.settle(self._work, parts.boot, self._no, result))
        return await self._begin(tool)

    async def _make(self, tool: Tool, given: dict[str, Any], step: Step) -> str:
        self._say("running")
        began = time.monotonic()
        try:
            state, text = await self._holding.endable(self._called(tool, given, step))
        except Exception as error:
            TOOL_CALLS.labels(tool.spec.name, "failed").inc()
            log.warning("tool_failed", tool=tool.spec.name, task=self._work.id, error=repr(error))
            if tool.effect == "side_effecting":
                await self._holding.patiently(lambda: self._parts.approvals.doubt(self._work, self._no))
                await self._answer(tool, about=self._work.attempt)  # raises Asked: nobody can have answered yet
            state, text = "failed", f"It failed: {error!r}."
        seconds = round(time.monotonic() - began, 2)
        TOOL_CALLS.labels(tool.spec.name, state).inc()
        text = _storable(text)
        await self._keep(tool, {"text": text, "state": state, "seconds": seconds})
        return self._ended(state, text, seconds)

    async def _called(self, tool: Tool, given: dict[str, Any], step: Step) -> tuple[str, str]:
        work = self._work
        user = User(id=work.user_id, name="", tenant_id=work.tenant_id)
        call = Call(step.idem_key, user, work.id, work.conversation_id or "", work.trace_id)
        limit_s = tool.limit_s or self._parts.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                result = await tool.run(call, **given)
        except ToolFailed as error:
            return "failed", f"It failed: {error}"
        except TimeoutError:
            if tool.effect == "side_effecting":
                raise
            return "failed", f"It did not end within {limit_s:g} s."
        return "done", result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=str).decode()

    async def _keep(self, tool: Tool, result: dict[str, Any]) -> None:
        kept = await self._holding.patiently(
            lambda: self._parts.ledger.finish_step(self._work, self._no, name=tool.spec.name, result=result, tokens=0)
        )
        if not kept:
            raise StaleAttempt(task=self._work.id, step=self._no)

    def _ended(self, state: str, text: str, seconds: float = 0.0) -> str:
        self._say(state, text=text[:SHOWN], seconds=seconds)
        return text

    def _say(self, state: str, **more: Any) -> None:
        self.facts |= {"state": state} | more
        self._show("tool", **self.facts)


def _storable(text: str) -> str:
    """Return what a row can keep of a text, as much as a model reads."""
    return text[:MAX_RESULT].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
