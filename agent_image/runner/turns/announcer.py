"""Events of a turn that nobody who runs it says: its last one or its question when its owner died after the commit
(PROTOCOLS 8.2), and that it waits.
"""

from typing import Any

from agent_image.runner.turns.turn import last_word
from appliance.core import logs
from appliance.core.approvals import Approval, Approvals
from appliance.core.conversation_events import ConversationEvents
from appliance.core.errors import StaleAttempt, StoreAway
from appliance.core.postgres import Row
from appliance.core.records import Event, TaskState, Turn
from appliance.core.task_ledger import Answer, TaskLedger

log = logs.get("runner")


class Announcer:
    """Says what went unsaid."""

    def __init__(self, ledger: TaskLedger, approvals: Approvals, events: ConversationEvents, agent: str) -> None:
        self._ledger = ledger
        self._approvals = approvals
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

    async def ask(self, approval: Approval, conversation: str, attempt: int) -> None:
        """Append one of `Approvals.unannounced`, then stamp it."""
        try:
            await self._events.open_attempt(conversation, approval.task_id, attempt, agent=self._agent)
            await self._events.append(conversation, approval.task_id, attempt, [("question", approval.facts())])
            await self._approvals.announced(approval.id)
        except StaleAttempt:
            log.info("question_overtaken", turn=approval.task_id)

    async def waits(self, turn_id: str, message: str) -> None:
        """Tell open pages of a turn that was made for its person, if it stands behind another one.

        The row is committed, so a failure here loses nothing: the attempt's first event says the same.
        """
        try:
            turn = await self._ledger.turn(turn_id)
            if turn is not None and turn.state is TaskState.WAITING:
                first = acceptance(turn, message, queued=True)
                await self._events.open_attempt(turn.conversation_id, turn.id, 0, agent="", first=first)
        except (StaleAttempt, StoreAway) as error:
            log.info("waiting_untold", turn=turn_id, error=str(error))


def acceptance(turn: Turn, message: str, *, queued: bool) -> tuple[str, dict[str, Any]]:
    """Return the event of a message that was committed."""
    return "accepted", {"turn_no": turn.turn_no, "text": turn.text, "message_id": message, "queued": queued}


def told_by(row: Row) -> tuple[Event, Event]:
    """Return the whole text and the last event of an ended turn by its row, for a reader who missed them."""
    said = ("snapshot", {"text": row["answer"] or ""}), _missing_word(row)
    text, end = (Event(kind, "", str(row["id"]), row["attempt"], data) for kind, data in said)
    return text, end


def _missing_word(row: Row) -> tuple[str, dict[str, Any]]:
    answer = Answer(
        TaskState(row["state"]),
        row["answer"],
        reason=row["reason"],
        model=row["model"] or "",
        meta=row["meta"] or {},
    )
    return last_word(answer, str(row["answer_id"]))
