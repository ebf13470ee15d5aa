"""One attempt of one turn, from its claim to its commit (PROTOCOLS 7.2, DESIGN part 6)."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar

import msgspec

from agent_image.runner.commands.commands import Commands
from agent_image.runner.isolation import TURN_WAITS_S, Isolation
from agent_image.runner.llm import ChatMessage, ToolSpec
from agent_image.runner.memory.recall import Recall, Recalled
from agent_image.runner.multi.message import is_multi
from agent_image.runner.multi.orchestration import Orchestration, Stopped, Team
from agent_image.runner.multi.planner import plan_of
from agent_image.runner.tools.running import Asked
from agent_image.runner.turns.live_session import LiveSession
from agent_image.runner.turns.prompt import Window, build
from agent_image.runner.turns.publisher import Publisher
from agent_image.runner.turns.rounds import Asking, Rounds
from agent_image.runner.turns.summaries import Summaries
from appliance.core import failpoints, logs
from appliance.core.approvals import Approval, Approvals
from appliance.core.conversation_events import ConversationEvents
from appliance.core.errors import ModelError, ModelSilent, StaleAttempt, StoreAway
from appliance.core.metrics import ATTEMPTS_RESTARTED, STALE_REFUSED, TURN_SECONDS, TURNS_ENDED
from appliance.core.records import TaskState, Turn
from appliance.core.task_ledger import Answer, TaskLedger
from appliance.core.window import fit
from appliance.core.working_memory import Past, WorkingMemory

log = logs.get("runner")
T = TypeVar("T")
Why = Literal["stopped", "lost", "deadline", "drained"]
RETRY_DELAYS_S = (1.0, 5.0)
"""Back-off of failed tries; after the last one the turn fails visibly (PROTOCOLS 7.6: three tries)."""
_STORE_RETRY_S = 0.25
_NOTHING_SAID = Past()


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What every turn of a runner needs."""

    agent: str
    boot: str
    ledger: TaskLedger
    events: ConversationEvents
    memory: WorkingMemory
    summaries: Summaries
    window: Window
    asking: Asking
    team: Team
    approvals: Approvals
    isolation: Isolation
    commands: Commands
    recall: Recall


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
        self._session = LiveSession(parts.memory, turn, parts.agent)
        self._reader: asyncio.Task[Any] | None = None
        self._why: Why | None = None
        self._team: Orchestration | None = None
        self._recalled = Recalled()
        self._started = time.monotonic()
        self._rounds = Rounds(turn, parts.asking, self._publisher, self, self._started)

    def end(self, why: Why) -> None:
        """End this attempt: stopped by its user, lost to another attempt, past its deadline, or drained."""
        self._why = self._why or why
        if self._reader is not None:
            self._reader.cancel()

    async def run(self) -> None:
        """Answer the turn and commit it, or leave it to whoever owns it now."""
        try:
            await self.patiently(self._publisher.open)
            if self.turn.attempt > 1:
                ATTEMPTS_RESTARTED.inc()
            past = await self._past()
            await self._session.begin(past, tuple(spec.name for spec in self._specs()))
            async with self._parts.isolation.of(self.turn.id, self.turn.crash_count, TURN_WAITS_S):
                await self._answer(past)
        except StaleAttempt:
            STALE_REFUSED.inc()
            log.info("attempt_overtaken", turn=self.turn.id, attempt=self.turn.attempt)

    async def _answer(self, past: Past) -> None:
        try:
            ready = await self.patiently(lambda: self._parts.commands.answer(self.turn))
            if ready is not None:
                self._publisher.token(ready)
            else:
                await self._rounds.run(await self._prompt(past))
            await self._commit(self._answered(), past)
        except Asked as asked:
            await self._wait_for_a_person(asked.approval)
        except Stopped as stopped:
            await self._stopped(stopped)
        except ModelError as error:
            await self._failed(error)
        except asyncio.CancelledError:
            if self._why is None:
                raise
            await self._ended_early(self._why)

    async def _wait_for_a_person(self, approval: Approval) -> None:
        """Say what is asked; the row is nobody's already, and the answer queues it (DESIGN 12)."""
        self._publisher.say("question", **approval.facts())
        await self._publisher.drain()
        if not self._publisher.stale.is_set():
            await self._quietly(lambda: self._parts.approvals.announced(approval.id))

    async def _prompt(self, past: Past) -> tuple[ChatMessage, ...]:
        """Return what the model is told: what of the past has room and the message, or what sub-agents found."""
        if is_multi(self.turn.text):
            return await self._from_sub_agents()
        recalled = await self._remembered()
        room = self._parts.window.room(self._specs(), recalled.quoted, self.turn.text)
        summary, messages = fit(past.messages, past.summary.text, room)
        return build(messages, summary, recalled.quoted, self.turn.text)

    async def _remembered(self) -> Recalled:
        """Return what is remembered of who asks, and tell pages which. A `/multi` is planned without."""
        self._recalled = await self.patiently(lambda: self._parts.recall.of(self.turn))
        if facts := self._recalled.facts():
            self._publisher.say("recalled", **facts)
        return self._recalled

    def _specs(self) -> tuple[ToolSpec, ...]:
        return self._parts.asking.tools.box.specs()

    async def _from_sub_agents(self) -> tuple[ChatMessage, ...]:
        plan, planned = await plan_of(self.turn.text, self._rounds.aside)
        team = Orchestration(self.turn, plan, self._parts.team, self._say_of_team, planned=planned)
        self._team = team
        messages = await self.patiently(lambda: self.endable(team.results()))
        if team.cut:
            self._publisher.token(f"Ended early: {team.cut}. From what there is:\n\n")
        return messages

    def _say_of_team(self, kind: str, **data: Any) -> None:
        self._publisher.say(kind, **data)
        if self._team is not None:
            self._session.team_is(list(self._team.children.values()))

    async def _stopped(self, stopped: Stopped) -> None:
        """End a `/multi` that is to have no answer, with what stands in its place."""
        await self._end_children()
        self._publisher.token(stopped.text)
        answer = Answer(TaskState.FAILED, self._publisher.text, stopped.reason, self._rounds.route.model, self._meta())
        await self._commit(answer)

    async def _end_children(self) -> None:
        await self.patiently(lambda: self._parts.team.batches.cancel_children(self.turn.id))

    async def _past(self) -> Past:
        return await self.patiently(lambda: self._parts.memory.recall(self.turn))

    async def endable(self, work: Coroutine[Any, Any, T]) -> T:
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

    def _meta(self) -> dict[str, Any]:
        return {
            "agent": self._parts.agent, **self._rounds.facts(), "attempt": self.turn.attempt,
            "total_ms": round((time.monotonic() - self._started) * 1000), "taken_over": self._publisher.taken_over,
        } | self._recalled.facts() | (self._team.kept() if self._team else {})  # fmt: skip

    def _answered(self) -> Answer:
        return Answer(TaskState.DONE, self._publisher.text, model=self._rounds.route.model, meta=self._meta())

    async def _commit(self, answer: Answer, past: Past = _NOTHING_SAID) -> None:
        """Commit first, then tell (PROTOCOLS 8.2): what the page shows at `done` is what the row holds."""
        parts = self._parts
        failpoints.reach("before_commit")
        message = await self.patiently(lambda: parts.ledger.end(self.turn, parts.boot, answer, agent=parts.agent))
        failpoints.reach("after_commit_before_done_event")
        TURNS_ENDED.labels(answer.state).inc()
        TURN_SECONDS.observe(time.monotonic() - self._started)
        kind, data = last_word(answer, message)
        self._publisher.say(kind, **data)
        await self._publisher.drain()
        if not self._publisher.stale.is_set():
            await self._quietly(lambda: parts.ledger.announced(self.turn.id, self.turn.attempt, answer.state))
        if answer.state is TaskState.DONE:
            past = past.with_turn(self.turn, answer.text or "")
            await self._session.end(past, answer.model)
            parts.summaries.offer(self.turn, past)

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
        return await self.patiently(
            lambda: self._parts.ledger.retry(self.turn, self._parts.boot, reason=error.detail, delay_s=delay_s)
        )

    async def _ended_early(self, why: Why) -> None:
        text = self._publisher.text or None
        if (self._team or self._rounds.called) and why in ("stopped", "deadline"):
            await self._end_children()
        if why == "stopped":
            await self._commit(
                Answer(TaskState.CANCELLED, text, "stopped on request", self._rounds.route.model, self._meta())
            )
        elif why == "deadline":
            await self._commit(
                Answer(TaskState.FAILED, text, "The answer took too long.", self._rounds.route.model, self._meta())
            )
        elif why == "drained":
            # The next attempt calls nobody lost: this agent lets go by itself.
            await self._publisher.drain()
            await self._quietly(self._publisher.let_go)
        # lost or drained: the row is, or will be, another attempt's; nothing is written to it here.

    async def patiently(self, step: Callable[[], Awaitable[T]]) -> T:
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
