"""The steps of a turn or a sub-agent: model calls, and the tools they ask for, until there is an answer (DESIGN 6.3).

Each call is a journaled step, numbered in order. A later attempt replays what is finished: it comes to the same place.
"""

import time
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from agent_image.runner.llm import ChatMessage, Chunk, Finish, ModelRequest, Route, Router, ToolCall, ToolSpec, Usage
from agent_image.runner.tools.running import Holding, ToolRun
from agent_image.runner.tools.running import Parts as ToolParts
from appliance.core.metrics import FIRST_TOKEN
from appliance.core.records import Task, Turn
from appliance.core.task_ledger import Step, TaskLedger, key_of

MAX_ROUNDS = 8
"""Model calls of one turn that may ask for tools."""
ENOUGH = f"(Ended: {MAX_ROUNDS} rounds of tool calls are allowed.)"
_NOTHING = Usage(0, 0)


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What model calls need."""

    boot: str
    ledger: TaskLedger
    router: Router
    max_tokens: int
    tools: ToolParts


class Heard(Protocol):
    """Who is told what is said."""

    @property
    def text(self) -> str:
        """The whole answer so far."""

    def token(self, text: str) -> None:
        """Take one piece of the answer; never waits."""

    def say(self, kind: str, **data: Any) -> None:
        """Take one other event; never waits."""


class Unheard:
    """Keeps an answer that nobody is shown while it is made."""

    def __init__(self) -> None:
        self.text = ""

    def token(self, text: str) -> None:
        """Keep it."""
        self.text += text

    def say(self, kind: str, **data: Any) -> None:
        """Nobody hears it."""


class Rounds:
    """One attempt's way to an answer."""

    def __init__(self, work: Turn | Task, asking: Asking, heard: Heard, holding: Holding, began: float) -> None:
        self._work = work
        self._asking = asking
        self._heard = heard
        self._holding = holding
        self._began = began
        self._no = 0
        self._tools: list[ToolRun] = []
        self._usages: list[Usage] = []
        self.route = Route(model="")
        self._finish_reason = "stop"
        self._first_token_ms = 0

    async def run(self, messages: tuple[ChatMessage, ...]) -> None:
        """Call the model, and what it asks for, until it asks for nothing more.

        Raises:
            ModelError: no model answers. Asked: a person has to be asked first. StaleAttempt.
        """
        specs = self._asking.tools.box.specs()
        for _ in range(MAX_ROUNDS):
            said = await self._model(messages, specs, self._heard)
            if not said.calls:
                return
            messages = (*messages, said, *[await self._tool(call) for call in said.calls])
        self._heard.token(f"\n\n{ENOUGH}")

    async def aside(self, messages: tuple[ChatMessage, ...]) -> str:
        """Return what a model says to this in one call without tools: no part of the answer. Raises as `run`."""
        return (await self._model(messages, (), Unheard())).text

    @property
    def called(self) -> bool:
        """Whether a tool was asked for: one that may have put up tasks."""
        return bool(self._tools)

    def facts(self) -> dict[str, Any]:
        """Return what the answer's row keeps of the way to it."""
        used = {
            "input_tokens": sum(it.input_tokens for it in self._usages),
            "output_tokens": sum(it.output_tokens for it in self._usages),
        }
        about = {"model": self.route.model, "reason": self.route.reason, "finish_reason": self._finish_reason}
        tools = [{"state": "stopped"} | it.facts for it in self._tools]
        return about | used | {"ttft_ms": self._first_token_ms} | ({"tools": tools} if tools else {})

    def _next(self) -> int:
        self._no += 1
        return self._no

    async def _tool(self, call: ToolCall) -> ChatMessage:
        run = ToolRun(self._work, self._next(), call, self._asking.tools, self._holding, self._heard.say)
        self._tools.append(run)
        return ChatMessage("tool", await run.run(), answers=call.id)

    async def _model(self, messages: tuple[ChatMessage, ...], specs: tuple[ToolSpec, ...], heard: Heard) -> ChatMessage:
        """One journaled model call; one that an earlier attempt finished is replayed, not paid twice."""
        no = self._next()
        key = key_of(self._work, no)
        request = ModelRequest(messages, self._asking.max_tokens, key, self._work.trace_id, specs)
        if heard.text and not heard.text.endswith("\n"):
            heard.token("\n\n")
        begins_at = len(heard.text)
        step = await self._holding.patiently(lambda: self._begin(no, request))
        if step.done and step.result is not None:
            return self._replay(step.result, heard)
        calls, usage = await self._holding.endable(self._read(no, request, heard))
        text = heard.text[begins_at:]
        await self._holding.patiently(lambda: self._keep(no, text, calls, usage))
        return ChatMessage("assistant", text, calls)

    async def _begin(self, no: int, request: ModelRequest) -> Step:
        text = "\n".join(f"{message.role}: {message.text}" for message in request.messages)
        return await self._asking.ledger.begin_step(
            self._work, self._asking.boot, no, kind="model", name="", input_text=text
        )

    async def _keep(self, no: int, text: str, calls: tuple[ToolCall, ...], usage: Usage) -> bool:
        meta = {
            "model": self.route.model, "reason": self.route.reason, "finish_reason": self._finish_reason,
            "ttft_ms": self._first_token_ms, "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
        }  # fmt: skip
        return await self._asking.ledger.finish_step(
            self._work,
            no,
            name=self.route.model,
            result={"text": text, "calls": msgspec.to_builtins(calls), "meta": meta},
            tokens=usage.input_tokens + usage.output_tokens,
        )

    def _replay(self, result: dict[str, Any], heard: Heard) -> ChatMessage:
        meta = result["meta"]
        self.route = Route(model=meta["model"], reason=meta["reason"])
        self._finish_reason = meta["finish_reason"]
        self._first_token_ms = self._first_token_ms or meta["ttft_ms"]
        self._usages.append(Usage(meta["input_tokens"], meta["output_tokens"]))
        if result["text"]:
            heard.token(result["text"])
        calls = msgspec.convert(result.get("calls", ()), tuple[ToolCall, ...])
        return ChatMessage("assistant", result["text"], calls)

    async def _read(self, no: int, request: ModelRequest, heard: Heard) -> tuple[tuple[ToolCall, ...], Usage]:
        calls: list[ToolCall] = []
        usage = _NOTHING
        async with aclosing(self._asking.router.stream(request)) as parts:
            async for part in parts:
                match part:
                    case Chunk():
                        if heard is self._heard:
                            self._note_first_token()
                        heard.token(part.text)
                    case Route():
                        self.route = part
                        heard.say("route", model=part.model, reason=part.reason)
                    case ToolCall():
                        # Ids of our own: the next call may go to a model of another provider.
                        calls.append(ToolCall(f"call_{no}_{len(calls)}", part.name, part.arguments))
                    case Finish():
                        usage, self._finish_reason = part.usage, part.finish_reason
        self._usages.append(usage)
        return tuple(calls), usage

    def _note_first_token(self) -> None:
        if not self._first_token_ms:
            seconds = time.monotonic() - self._began
            self._first_token_ms = max(1, round(seconds * 1000))
            FIRST_TOKEN.observe(seconds)
