"""A transcript as the page shows it: turn by turn, each with its message, its answer and how it stands."""

import msgspec

from agent_image.runner.conversations import Transcript
from appliance.core.approvals import Approval
from appliance.core.records import Message, TaskState, Turn


class TurnView(msgspec.Struct, frozen=True):
    """One turn on the page."""

    id: str
    turn_no: int
    state: TaskState
    asked: str
    answer: Message | None
    reason: str
    questions: tuple[Approval, ...] = ()
    """What its user is asked now."""
    note: str = ""
    """Which job asked this, due when, if one did."""

    @property
    def unfinished(self) -> bool:
        """Whether something more will come by itself."""
        return not self.state.ended


BLANK = TurnView(id="", turn_no=0, state=TaskState.RUNNING, asked="", answer=None, reason="")
"""What the page's script makes new turns of."""


def turns_of(transcript: Transcript) -> list[TurnView]:
    """Return the turns of a transcript, oldest first."""
    answers = {message.turn_id: message for message in transcript.messages if message.role == "assistant"}
    rows: dict[str, Turn] = {turn.id: turn for turn in (*transcript.unfinished, *transcript.ended_badly)}
    return [
        _view(
            message,
            rows.get(message.turn_id),
            answers.get(message.turn_id),
            tuple(it for it in transcript.questions if it.task_id == message.turn_id),
        )
        for message in transcript.messages
        if message.role == "user"
    ]


def _view(asked: Message, row: Turn | None, answer: Message | None, questions: tuple[Approval, ...]) -> TurnView:
    return TurnView(
        id=asked.turn_id,
        turn_no=asked.turn_no,
        state=row.state if row else TaskState.DONE,
        asked=asked.text,
        answer=answer,
        reason=row.reason if row else "",
        questions=questions,
        note=asked.meta.get("note", ""),
    )
