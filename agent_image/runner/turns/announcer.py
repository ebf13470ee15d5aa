"""The last event of a turn whose owner died after its commit (PROTOCOLS 8.2)."""

from typing import Any

from agent_image.runner.turns.turn import last_word
from appliance.core import logs
from appliance.core.conversation_events import ConversationEvents
from appliance.core.errors import StaleAttempt
from appliance.core.postgres import Row
from appliance.core.records import TaskState
from appliance.core.task_ledger import Answer, TaskLedger

log = logs.get("runner")


class Announcer:
    """Says what went unsaid."""

    def __init__(self, ledger: TaskLedger, events: ConversationEvents, agent: str) -> None:
        self._ledger = ledger
        self._events = events
        self._agent = agent

    async def announce(self, row: Row) -> None:
        """Append the last event of one of `TaskLedger.unannounced`, then stamp its row."""
        turn, attempt, conversation = str(row["id"]), row["attempt"], str(row["conversation_id"])
        try:
            await self._events.open_attempt(conversation, turn, attempt, agent=self._agent)
            await self._events.append(conversation, turn, attempt, [_missing_word(row)])
            await self._ledger.announced(turn, attempt, TaskState(row["state"]))
        except StaleAttempt:
            log.info("announcement_overtaken", turn=turn)


def _missing_word(row: Row) -> tuple[str, dict[str, Any]]:
    answer = Answer(
        TaskState(row["state"]),
        row["answer"],
        reason=row["reason"],
        model=row["model"] or "",
        meta=row["meta"] or {},
    )
    return last_word(answer, str(row["answer_id"]))
