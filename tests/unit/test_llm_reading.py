"""What is made of a provider's bytes: chunks, usage, the end, and errors a person can read."""

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_image.runner.llm import faults
from agent_image.runner.llm.base import Usage
from agent_image.runner.llm.sse import LINE_BYTES, ChatStream, Unreadable
from appliance.core.errors import ModelAway, ModelBroke, ModelBusy, ModelError, ModelRefused

KEY = "sk-very-secret-key"
TEXT = "Grüße 🙂, w1 w2"


def frames(pieces: list[str]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"data: " + json.dumps({"choices": [{"delta": {"content": piece}}]}).encode() + b"\n\n"
    yield b": a comment\r\n"
    yield b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
    yield b'data:{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\n\ndata: [DONE]\n\n'


@given(st.lists(st.integers(0, 2000), max_size=10))
def test_an_answer_reads_the_same_wherever_the_network_cuts_it(cuts: list[int]) -> None:
    whole = b"".join(frames(list(TEXT)))
    edges = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    reading = ChatStream()

    chunks = [reading.feed(whole[a:b]) for a, b in pairwise(edges)]

    assert "".join(chunk.text for chunk in chunks if chunk) == TEXT
    assert (reading.pieces, reading.usage, reading.finish_reason, reading.over) == (
        len(TEXT),
        Usage(3, 7),
        "stop",
        True,
    )


def test_a_stream_that_just_stops_is_not_complete() -> None:
    reading = ChatStream()
    reading.feed(b'data: {"choices":[{"delta":{"content":"half"}}]}\n\n')

    assert not reading.complete


@pytest.mark.parametrize(
    "data", [b"data: {not json\n", b"data: [1]\n", b'data: {"choices":7}\n', b"x" * LINE_BYTES * 2]
)
def test_what_is_no_chat_stream_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        ChatStream().feed(data)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, ModelBusy),
        (503, ModelBusy),
        (529, ModelBusy),
        (502, ModelAway),
        (500, ModelBroke),
        (400, ModelRefused),
        (401, ModelRefused),
        (404, ModelRefused),
        (301, ModelRefused),
    ],
)
def test_every_status_becomes_a_sentence_that_names_the_model_and_hides_the_key(
    status: int, kind: type[ModelError]
) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()

    error = faults.by_status("ollama/llama3", status, body, None, secret=KEY)

    assert type(error) is kind
    assert "ollama/llama3" in error.detail
    assert KEY not in str(error) + repr(error)


def test_a_refused_message_is_explained_in_the_providers_own_words() -> None:
    body = b'{"error":{"message":"the request exceeds\\n the context size"}}'

    assert faults.by_status("bundled", 400, body, None).detail.endswith(": the request exceeds the context size")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":null}', b"\xff", b'{"error":{}}'])
def test_an_error_body_that_cannot_be_read_is_left_out(body: bytes) -> None:
    assert faults.by_status("bundled", 400, body, None).detail == "bundled rejects this message (HTTP 400)."


@pytest.mark.parametrize(
    ("header", "wait"), [("2", 2.0), ("0.5", 0.5), (None, None), ("-1", None), ("inf", None), ("Mon, 1 Jan", None)]
)
def test_retry_after_is_read_as_seconds_or_not_at_all(header: str | None, wait: float | None) -> None:
    assert faults.seconds(header) == wait
