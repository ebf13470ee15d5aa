"""The level-triggered net under turns: release, wake, and say what went unsaid (PROTOCOLS 7.2, 7.3, 8.2)."""

import asyncio
from collections.abc import Callable
from typing import Any

from agent_image.runner.turns.turn import last_word
from appliance.core import logs
from appliance.core.conversation_events import ConversationEvents
from appliance.core.errors import StaleAttempt, StoreAway
from appliance.core.postgres import Row
from appliance.core.records import TaskState
from appliance.core.task_ledger import Answer, TaskLedger

log = logs.get("runner")
SWEEP_S = 1.0


class Announcer:
    """Sweeps while this agent may act as primary."""

    def __init__(self, ledger: TaskLedger, events: ConversationEvents, may_act: Callable[[], bool], agent: str) -> None:
        self._ledger = ledger
        self._events = events
        self._may_act = may_act
        self._agent = agent

    async def run(self) -> None:
        """Sweep each second until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            if not self._may_act():
                continue
            try:
                if released := await self._ledger.sweep():
                    log.warning("swept", released=released)
                for row in await self._ledger.unannounced():
                    await self._announce(row)
            except StoreAway as error:
                log.warning("sweep_failed", error=str(error))

    async def _announce(self, row: Row) -> None:
        """Append the last event of a turn whose owner died after its commit, then stamp the row."""
        turn, attempt, conversation = str(row["id"]), row["attempt"], str(row["conversation_id"])
        try:
            await self._events.open_attempt(conversation, turn, attempt, agent=self._agent)
            await self._events.append(conversation, turn, attempt, [self._missing_word(row)])
            await self._ledger.announced(turn, attempt, TaskState(row["state"]))
        except StaleAttempt:
            log.info("announcement_overtaken", turn=turn)

    @staticmethod
    def _missing_word(row: Row) -> tuple[str, dict[str, Any]]:
        answer = Answer(
            TaskState(row["state"]),
            row["answer"],
            reason=row["reason"],
            model=row["model"] or "",
            meta=row["meta"] or {},
        )
        return last_word(answer, str(row["answer_id"]))
