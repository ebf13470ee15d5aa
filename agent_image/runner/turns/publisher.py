"""What one attempt of a turn says to its clients: ordered, coalesced, fenced by the attempt (PROTOCOLS 8.1, 8.4)."""

import asyncio
from typing import Any, Literal

from appliance.core import logs
from appliance.core.conversation_events import ConversationEvents, Opened
from appliance.core.errors import NoAttempt, StaleAttempt, StoreAway
from appliance.core.metrics import STALE_REFUSED, TOKENS_STREAMED
from appliance.core.records import TaskState, Turn
from appliance.core.task_ledger import TaskLedger

log = logs.get("runner")
COALESCE_S = 0.02
_RETRY_S = 0.1
Pair = tuple[str, dict[str, Any]]


class Publisher:
    """Appends one attempt's events. While Redis is away the text is kept here and comes back as a snapshot."""

    def __init__(self, events: ConversationEvents, ledger: TaskLedger, turn: Turn, agent: str) -> None:
        self._events = events
        self._ledger = ledger
        self._turn = turn
        self._agent = agent
        self._waiting: list[Pair] = []
        self._pieces: list[str] = []
        self._flusher: asyncio.Task[None] | None = None
        self._last_flush = 0.0
        self.taken_over: dict[str, Any] | None = None
        """From which agent, after how many ms, when this attempt is not the first."""
        self.stale = asyncio.Event()
        """Set when another attempt has taken over: nothing this one says is heard any more."""

    @property
    def text(self) -> str:
        """The whole answer so far."""
        return "".join(self._pieces)

    async def open(self) -> None:
        """Make this attempt the one that speaks; raises StaleAttempt when a later one does."""
        turn = self._turn
        kind = "started" if turn.attempt == 1 else "attempt_restarted"
        first = (kind, {"agent": self._agent, "turn_no": turn.turn_no, "text": turn.text, "answered": turn.answered})
        opened = await self._open("open", first)
        if turn.attempt > 1 and not turn.answered:
            self.taken_over = {"from": opened.agent_before, "gap_ms": max(0, opened.gap_ms)}

    async def _open(self, mode: Literal["open", "resume"], first: Pair) -> Opened:
        turn = self._turn
        return await self._events.open_attempt(
            turn.conversation_id, turn.id, turn.attempt, agent=self._agent, mode=mode, first=first
        )

    async def let_go(self) -> None:
        """Take this agent's name off the turn: it ended its try itself, so the next attempt calls nobody lost."""
        turn = self._turn
        await self._events.open_attempt(turn.conversation_id, turn.id, turn.attempt, agent="")

    def token(self, text: str) -> None:
        """Take one piece of the answer; never waits."""
        self._pieces.append(text)
        if self._waiting and self._waiting[-1][0] == "token":
            self._waiting[-1][1]["text"] += text
        else:
            self._waiting.append(("token", {"text": text}))
        self._flush_soon()

    def say(self, kind: str, **data: Any) -> None:
        """Take one other event; never waits."""
        self._waiting.append((kind, data))
        self._flush_soon()

    def forget_text(self) -> None:
        """Begin the answer anew: another model starts over."""
        self._pieces.clear()

    def _flush_soon(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        """Append what waits; the first piece at once, later ones together every COALESCE_S."""
        now = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._last_flush + COALESCE_S - now()))
        while self._waiting and not self.stale.is_set():
            batch, self._waiting = self._waiting, []
            await self._append(batch)
            self._last_flush = now()
            if self._waiting:
                await asyncio.sleep(COALESCE_S)

    async def _append(self, batch: list[Pair]) -> None:
        turn = self._turn
        try:
            await self._events.append(turn.conversation_id, turn.id, turn.attempt, batch)
            TOKENS_STREAMED.inc(len(batch))
        except StaleAttempt:
            STALE_REFUSED.inc()
            self.stale.set()
        except (NoAttempt, StoreAway) as error:
            log.warning("events_interrupted", turn=turn.id, error=str(error))
            await self._resume()
            others = [pair for pair in batch if pair[0] != "token"]
            if others and not self.stale.is_set():
                await self._append(others)

    async def _resume(self) -> None:
        """After Redis lost this attempt or was away: if the row is still ours, say the text so far again."""
        turn = self._turn
        while not self.stale.is_set():
            try:
                row = await self._ledger.turn(turn.id)
                if row is None or row.attempt != turn.attempt or row.state is TaskState.QUEUED:
                    self.stale.set()
                    return
                self._waiting = [pair for pair in self._waiting if pair[0] != "token"]
                await self._open("resume", ("snapshot", {"text": self.text}))
            except StaleAttempt:
                self.stale.set()
            except StoreAway:
                await asyncio.sleep(_RETRY_S)
                continue
            return

    async def drain(self) -> None:
        """Return when everything said so far has been appended or will never be heard."""
        while self._flusher is not None and not self._flusher.done():
            await asyncio.shield(self._flusher)
