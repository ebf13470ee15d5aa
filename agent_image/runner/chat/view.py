"""A transcript as the page shows it: turn by turn, each with its message, its answer and how it stands."""

from collections.abc import Mapping
from typing import Any

import msgspec

from agent_image.runner.conversations import Transcript
from agent_image.runner.memory import words
from appliance.core.approvals import Approval
from appliance.core.memory.items import Memory
from appliance.core.records import Message, TaskState, Turn


class Used(msgspec.Struct, frozen=True):
    """A memory that an answer was given; `memory` is None once it was erased."""

    no: int
    memory: Memory | None

    @property
    def said(self) -> str:
        """Where it comes from."""
        return words.said(self.memory) if self.memory else ""

    @property
    def link(self) -> str:
        """The address of the message it comes from; '' without one."""
        return words.link_of(self.memory) if self.memory else ""


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
    memories: tuple[Used, ...] = ()
    """What its answer was given of what is remembered."""

    @property
    def unfinished(self) -> bool:
        """Whether something more will come by itself."""
        return not self.state.ended


BLANK = TurnView(id="", turn_no=0, state=TaskState.RUNNING, asked="", answer=None, reason="")
"""What the page's script makes new turns of."""


def used_in(transcript: Transcript) -> list[str]:
    """Return the ids of all memories that its answers were given."""
    return list({it["id"] for message in transcript.messages for it in _noted(message)})


def _noted(message: Message | None) -> list[dict[str, Any]]:
    return message.meta.get("memories", []) if message else []


def turns_of(transcript: Transcript, known: Mapping[str, Memory]) -> list[TurnView]:
    """Return the turns of a transcript, oldest first; `known` are those memories it used that were not erased."""
    answers = {message.turn_id: message for message in transcript.messages if message.role == "assistant"}
    rows: dict[str, Turn] = {turn.id: turn for turn in (*transcript.unfinished, *transcript.ended_badly)}
    return [
        _view(
            message,
            rows.get(message.turn_id),
            answers.get(message.turn_id),
            tuple(it for it in transcript.questions if it.task_id == message.turn_id),
            _used(answers.get(message.turn_id), known),
        )
        for message in transcript.messages
        if message.role == "user"
    ]


def _used(answer: Message | None, known: Mapping[str, Memory]) -> tuple[Used, ...]:
    return tuple(Used(it["no"], known.get(it["id"])) for it in _noted(answer))


def _view(
    asked: Message, row: Turn | None, answer: Message | None, questions: tuple[Approval, ...], used: tuple[Used, ...]
) -> TurnView:
    return TurnView(
        id=asked.turn_id,
        turn_no=asked.turn_no,
        state=row.state if row else TaskState.DONE,
        asked=asked.text,
        answer=answer,
        reason=row.reason if row else "",
        questions=questions,
        note=asked.meta.get("note", ""),
        memories=used,
    )
