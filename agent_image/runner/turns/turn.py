"""One attempt of one turn, from its claim to its commit (PROTOCOLS 7.2, DESIGN part 6)."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Literal, TypeVar

import msgspec

from agent_image.runner.isolation import TURN_WAITS_S, Isolation
from agent_image.runner.llm import ChatMessage, Chunk, Finish, ModelRequest, Route, Router, Usage
from agent_image.runner.multi.orchestration import Orchestration
from agent_image.runner.multi.plan import is_multi
from agent_image.runner.tasks.board import Board
from agent_image.runner.turns.publisher import Publisher
from appliance.core import failpoints, logs
from appliance.core.conversation_events import ConversationEvents
from appliance.core.errors import ModelError, ModelSilent, StaleAttempt, StoreAway
from appliance.core.metrics import ATTEMPTS_RESTARTED, FIRST_TOKEN, STALE_REFUSED, TURN_SECONDS, TURNS_ENDED
from appliance.core.records import TaskState, Turn
from appliance.core.task_batches import TaskBatches
from appliance.core.task_ledger import Answer, Step, TaskLedger
from appliance.core.working_memory import Said, WorkingMemory

log = logs.get("runner")
T = TypeVar("T")
Why = Literal["stopped", "lost", "deadline", "drained"]
RETRY_DELAYS_S = (1.0, 5.0)
"""Back-off of failed tries; after the last one the turn fails visibly (PROTOCOLS 7.6: three tries)."""
_STORE_RETRY_S = 0.25
_STEP = 1


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What every turn of a runner needs."""

    agent: str
    boot: str
    ledger: TaskLedger
    events: ConversationEvents
    memory: WorkingMemory
    router: Router
    max_tokens: int
    board: Board
    batches: TaskBatches
    isolation: Isolation


def delay_after(error: ModelError, failed_before: int) -> float | None:
    """Return the seconds until the next try, or None when another try would not help or was the last."""
    if not error.retryable or isinstance(error, ModelSilent) or failed_before >= len(RETRY_DELAYS_S):
        return None
    return RETRY_DELAYS_S[failed_before]


class TurnRun:
    """Runs one attempt. `end(why)` may be called at any moment."""

    def __init__(self, turn: Turn, parts: Parts) -> None:
        self.turn = turn
        self._parts = parts
        self._publisher = Publisher(parts.events, parts.ledger, turn, parts.agent)
        self._reader: asyncio.Task[Any] | None = None
        self._why: Why | None = None
        self._team: Orchestration | None = None
        self._route = Route(model="")
        self._finish = Finish(Usage(0, 0), "stop")
        self._started = time.monotonic()
        self._first_token_ms = 0

    def end(self, why: Why) -> None:
        """End this attempt: stopped by its user, lost to another attempt, past its deadline, or drained."""
        self._why = self._why or why
        if self._reader is not None:
            self._reader.cancel()

    async def run(self) -> None:
        """Answer the turn and commit it, or leave it to whoever owns it now."""
        try:
            await self._until_stores_answer(self._publisher.open)
            if self.turn.attempt > 1:
                ATTEMPTS_RESTARTED.inc()
            past = await self._past()
            async with self._parts.isolation.of(self.turn.id, self.turn.crash_count, TURN_WAITS_S):
                await self._answer(past)
        except StaleAttempt:
            STALE_REFUSED.inc()
            log.info("attempt_overtaken", turn=self.turn.id, attempt=self.turn.attempt)

    async def _answer(self, past: tuple[Said, ...]) -> None:
        try:
            request = self._request(await self._prompt(past))
            step = await self._until_stores_answer(lambda: self._begin_step(request))
            if step.done and step.result is not None:
                self._replay(step.result)
            else:
                await self._endable(self._read(request))
                await self._until_stores_answer(self._finish_step)
            await self._commit(self._answered(), past)
        except ModelError as error:
            await self._failed(error)
        except asyncio.CancelledError:
            if self._why is None:
                raise
            await self._ended_early(self._why)

    async def _prompt(self, past: tuple[Said, ...]) -> tuple[ChatMessage, ...]:
        """Return what the model is told: the past and the message, or what sub-agents found."""
        if is_multi(self.turn.text):
            team = self._team = Orchestration(self.turn, self._parts.board, self._parts.batches, self._publisher.say)
            return await self._until_stores_answer(lambda: self._endable(team.results()))
        said = [ChatMessage("user" if it.role == "user" else "assistant", it.text) for it in past]
        return (*said, ChatMessage("user", self.turn.text))

    def _request(self, messages: tuple[ChatMessage, ...]) -> ModelRequest:
        return ModelRequest(
            messages=messages,
            max_tokens=self._parts.max_tokens,
            idem_key=f"{self.turn.id}:{_STEP}",
            trace_id=self.turn.trace_id,
        )

    async def _past(self) -> tuple[Said, ...]:
        return await self._until_stores_answer(lambda: self._parts.memory.recall(self.turn))

    async def _begin_step(self, request: ModelRequest) -> Step:
        text = "\n".join(f"{message.role}: {message.text}" for message in request.messages)
        return await self._parts.ledger.begin_step(
            self.turn, self._parts.boot, _STEP, kind="model", name="", input_text=text
        )

    async def _finish_step(self) -> bool:
        usage = self._finish.usage
        return await self._parts.ledger.finish_step(
            self.turn,
            _STEP,
            name=self._route.model,
            result={"text": self._publisher.text, "meta": self._meta()},
            tokens=usage.input_tokens + usage.output_tokens,
        )

    def _replay(self, result: dict[str, Any]) -> None:
        """Use the answer an earlier attempt completed: the model is not called, nor paid, twice."""
        meta = result["meta"]
        self._route = Route(model=meta["model"], reason=meta["reason"])
        self._finish = Finish(Usage(meta["input_tokens"], meta["output_tokens"]), meta["finish_reason"])
        self._first_token_ms = meta["ttft_ms"]
        self._publisher.token(result["text"])

    async def _endable(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what `end` may end at any moment, and what a later attempt ends."""
        reader: asyncio.Task[T] = asyncio.create_task(work, name=f"work of {self.turn.id}")
        self._reader = reader
        watch = asyncio.create_task(self._publisher.stale.wait())
        if self._why is not None:
            reader.cancel()
        try:
            await asyncio.wait((reader, watch), return_when=asyncio.FIRST_COMPLETED)
            if self._publisher.stale.is_set():
                self.end("lost")
            return await reader
        finally:
            watch.cancel()

    async def _read(self, request: ModelRequest) -> None:
        async with aclosing(self._parts.router.stream(request)) as parts:
            async for part in parts:
                match part:
                    case Chunk():
                        self._note_first_token()
                        self._publisher.token(part.text)
                    case Route():
                        self._route = part
                        self._publisher.say("route", model=part.model, reason=part.reason)
                    case Finish():
                        self._finish = part

    def _note_first_token(self) -> None:
        if not self._first_token_ms:
            seconds = time.monotonic() - self._started
            self._first_token_ms = max(1, round(seconds * 1000))
            FIRST_TOKEN.observe(seconds)

    def _meta(self) -> dict[str, Any]:
        usage = self._finish.usage
        return {
            "agent": self._parts.agent, "model": self._route.model, "reason": self._route.reason,
            "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
            "ttft_ms": self._first_token_ms, "total_ms": round((time.monotonic() - self._started) * 1000),
            "finish_reason": self._finish.finish_reason, "attempt": self.turn.attempt,
            "taken_over": self._publisher.taken_over,
        } | ({"children": self._team.kept()} if self._team else {})  # fmt: skip

    def _answered(self) -> Answer:
        return Answer(TaskState.DONE, self._publisher.text, model=self._route.model, meta=self._meta())

    async def _commit(self, answer: Answer, past: tuple[Said, ...] = ()) -> None:
        """Commit first, then tell (PROTOCOLS 8.2): what the page shows at `done` is what the row holds."""
        parts = self._parts
        failpoints.reach("before_commit")
        message = await self._until_stores_answer(
            lambda: parts.ledger.end(self.turn, parts.boot, answer, agent=parts.agent)
        )
        failpoints.reach("after_commit_before_done_event")
        TURNS_ENDED.labels(answer.state).inc()
        TURN_SECONDS.observe(time.monotonic() - self._started)
        kind, data = last_word(answer, message)
        self._publisher.say(kind, **data)
        await self._publisher.drain()
        if not self._publisher.stale.is_set():
            await self._quietly(lambda: parts.ledger.announced(self.turn.id, self.turn.attempt, answer.state))
        if answer.state is TaskState.DONE:
            await self._quietly(
                lambda: parts.memory.remember(self.turn, past, answer.text or "", agent=parts.agent, model=answer.model)
            )

    async def _failed(self, error: ModelError) -> None:
        delay_s = delay_after(error, self.turn.fail_count)
        log.warning("model_failed", turn=self.turn.id, error=str(error), retry_in_s=delay_s)
        if delay_s is None:
            text = self._publisher.text or None
            return await self._commit(Answer(TaskState.FAILED, text, reason=error.detail, meta=self._meta()))
        # Said before the row is free: the next attempt may open at once, and then this one is no longer heard.
        self._publisher.say("retrying", reason=error.detail, delay_s=delay_s)
        await self._publisher.drain()
        await self._quietly(self._publisher.let_go)
        return await self._until_stores_answer(
            lambda: self._parts.ledger.retry(self.turn, self._parts.boot, reason=error.detail, delay_s=delay_s)
        )

    async def _ended_early(self, why: Why) -> None:
        text = self._publisher.text or None
        if self._team and why in ("stopped", "deadline"):
            await self._until_stores_answer(lambda: self._parts.batches.cancel_children(self.turn.id))
        if why == "stopped":
            await self._commit(Answer(TaskState.CANCELLED, text, "stopped on request", self._route.model, self._meta()))
        elif why == "deadline":
            await self._commit(
                Answer(TaskState.FAILED, text, "The answer took too long.", self._route.model, self._meta())
            )
        elif why == "drained":
            # The next attempt calls nobody lost: this agent lets go by itself.
            await self._publisher.drain()
            await self._quietly(self._publisher.let_go)
        # lost or drained: the row is, or will be, another attempt's; nothing is written to it here.

    async def _until_stores_answer(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a fenced step until the stores answer (PROTOCOLS 6.5): same attempt, so repeating is safe."""
        while True:
            try:
                return await step()
            except StoreAway as error:
                log.warning("waiting_for_store", turn=self.turn.id, error=str(error))
                if self._why in ("lost", "drained"):
                    raise StaleAttempt(turn=self.turn.id) from error
            await asyncio.sleep(_STORE_RETRY_S)

    async def _quietly(self, step: Callable[[], Awaitable[object]]) -> None:
        """Do what the sweep or the next turn makes good if a store is away now."""
        try:
            await step()
        except StoreAway as error:
            log.info("left_to_the_sweep", turn=self.turn.id, error=str(error))


def last_word(answer: Answer, message: str) -> tuple[str, dict[str, Any]]:
    """Return the event that ends a turn's stream."""
    kept = fingerprint(message, answer.text) if answer.text is not None else {"message_id": None}
    match answer.state:
        case TaskState.DONE:
            return "done", kept | answer.meta
        case TaskState.CANCELLED:
            return "cancelled", kept
        case _:
            return "failed", kept | {"reason": answer.reason}


def fingerprint(message_id: str, text: str) -> dict[str, Any]:
    """Return what a page compares its own text with."""
    checksum = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"message_id": message_id, "length": len(text), "checksum": checksum}
