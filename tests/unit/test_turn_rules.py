"""The decisions of a turn, without stores."""

import pytest

from agent_image.runner.turns.turn import delay_after, fingerprint, last_word
from appliance.core.conversation_events import Position, before, is_known, parse_cursor
from appliance.core.errors import ModelAway, ModelBroke, ModelBusy, ModelError, ModelRefused, ModelSilent
from appliance.core.records import TaskState
from appliance.core.task_ledger import Answer


@pytest.mark.parametrize("error", [ModelAway(), ModelBusy(), ModelBroke()])
def test_a_failed_call_is_tried_three_times_with_growing_pauses(error: ModelError) -> None:
    assert [delay_after(error, failed) for failed in range(4)] == [1.0, 5.0, None, None]


@pytest.mark.parametrize("error", [ModelRefused(), ModelSilent()])
def test_what_asking_again_would_not_help_is_not_asked_again(error: ModelError) -> None:
    assert delay_after(error, 0) is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(TaskState.DONE, "text"), "done"),
        (Answer(TaskState.CANCELLED, "te"), "cancelled"),
        (Answer(TaskState.CANCELLED, None), "cancelled"),
        (Answer(TaskState.FAILED, None, reason="why"), "failed"),
        (Answer(TaskState.DEAD, None, reason="why"), "failed"),
    ],
)
def test_every_end_has_its_last_word(answer: Answer, kind: str) -> None:
    said, data = last_word(answer, "m")
    assert said == kind
    assert data["message_id"] == ("m" if answer.text is not None else None)
    assert data.get("reason", answer.reason) == answer.reason


def test_a_page_can_compare_what_it_streamed_with_what_was_committed() -> None:
    assert fingerprint("m", "héllo") == {"message_id": "m", "length": 5, "checksum": "3c48591d8d098a45"}


@pytest.mark.parametrize(("stream_id", "earlier"), [("5-1", "5-0"), ("5-0", f"4-{2**64 - 1}")])
def test_the_place_before_an_entry(stream_id: str, earlier: str) -> None:
    assert before(stream_id) == earlier


@pytest.mark.parametrize("cursor", ["", "g", "g-1", "g-1-", "g--1", "g-a-b", "-1-1", "g-1-1" + "0" * 100, "g!-1-1"])
def test_what_is_no_cursor_is_not_taken_for_one(cursor: str) -> None:
    assert parse_cursor(cursor) is None


@pytest.mark.parametrize(
    ("cursor", "known"),
    [
        ("g-5-0", True),
        ("g-9-0", True),
        (f"g-4-{2**64 - 1}", True),
        ("g-4-7", False),
        ("g-9-1", False),
        ("h-5-0", False),
    ],
)
def test_a_cursor_is_known_when_nothing_between_it_and_the_stream_is_missing(cursor: str, known: bool) -> None:
    parsed = parse_cursor(cursor)
    assert parsed is not None
    assert is_known(parsed, Position(generation="g", first="5-0", last="9-0", turn_start="")) is known
