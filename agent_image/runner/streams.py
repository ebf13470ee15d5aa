"""A conversation's events on the wire: server-sent events and WebSocket over one feed.

Each event is one flat object: type, turn, attempt, cursor and the fields of its type.

accepted            turn_no, text, message_id, queued: a message is committed
started             agent, turn_no, text: the first attempt begins
attempt_restarted   agent, from, gap_ms, turn_no, text: another attempt begins; what was streamed before does not count
route               model, reason: who answers, and why not the preferred one
token               text: the next piece
snapshot            text: the turn's whole text so far; without a turn: events were missed, read the transcript again
retrying            reason, delay_s: this try failed, another one follows
plan                goal, note, children: a `/multi` turn's sub-agents, each with id, role, goal, after, on_failure and
                    how it stands; the note says who planned it, its limits, and which of them ended it
child               one of them anew: state, agent, seconds, tokens, text, reason, earlier (tries that failed for good)
limit               note, as it is now: a limit is used up, nothing more is begun and what runs is cancelled; or the
                    next sub-agents wait until fewer tasks of this person do, or wait no more
recalled            memories: what the model is told of its user, each id and no, no texts; or memory_note: why nothing
tool                no, name, input, state, agent, text, seconds: a call of a tool, anew each time it stands differently
question            id, tool, input, about, choices, expires_at: the turn waits for its user's choice
answered            question, answer: and goes on
done                message_id, length, checksum and the answer's facts: what the page must equal
cancelled, failed   the same for what was kept, and the reason
waiting_for_store, store_back
moving              the last one of this connection: its agent is being stopped; reconnect at once with the cursor and
                    `try` + 1, nothing is lost (it has no cursor of its own)
ping                a second passed
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, WebSocket, get, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import SkipValidation
from litestar.response import Stream

from agent_image.runner.conversations import Conversations
from appliance.core.errors import BadInput, Leaving, NexusError
from appliance.core.records import Event

EVENT_STREAM = "text/event-stream"
SERVICE_RESTART = 1012
"""Close code of a socket whose agent is being stopped (RFC 6455's registry)."""
PING = b"event: ping\ndata: {}\n\n"
ENDS_A_TURN = frozenset({"done", "failed", "cancelled"})
Service = NamedDependency[SkipValidation[Conversations]]
_encode = msgspec.json.Encoder().encode


def flat(event: Event) -> dict[str, Any]:
    """Return an event as clients see it: one flat object."""
    return {"type": event.type, "turn": event.turn, "attempt": event.attempt, "cursor": event.cursor, **event.data}


async def as_sse(feed: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
    """Encode a feed as server-sent events, a ping for every silent second."""
    yield b"retry: 250\n\n"
    async for event in feed:
        if event is None:
            yield PING
        else:
            cursor = b"id: " + event.cursor.encode() + b"\n" if event.cursor else b""
            yield cursor + b"event: " + event.type.encode() + b"\ndata: " + _encode(flat(event)) + b"\n\n"


async def until_turn_ends(feed: AsyncIterator[Event | None], turn: str) -> AsyncIterator[Event | None]:
    """Pass a feed on up to and including the event that ends `turn`."""
    async for event in feed:
        yield event
        if event is not None and event.turn == turn and event.type in ENDS_A_TURN:
            return


class FromSocket(msgspec.Struct, frozen=True):
    """What a client may say over the socket."""

    type: str
    text: str = ""
    client_id: str = ""
    create: bool = False
    turn: str = ""


@websocket("/c/{conversation:str}/ws")
async def socket(socket: WebSocket[Any, Any, Any], conversations: Service, conversation: str, cursor: str = "") -> None:
    """Carry a conversation both ways: events out, messages and stops in."""
    try:
        feed = await conversations.join(socket.user, conversation, cursor)
    except Leaving as error:
        return await _deny(socket, error)
    except NexusError as error:
        return await socket.close(code=4000 + error.status, reason=error.title[:120])
    await socket.accept()
    sender = asyncio.create_task(_send_events(socket, feed))
    try:
        async for raw in socket.iter_data("text"):
            await _obey(socket, conversations, conversation, raw)
    except WebSocketDisconnect:
        pass  # how every socket ends: its client went; what it asked is a row, and its turn goes on
    finally:
        sender.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sender
    return None


async def _deny(socket: WebSocket[Any, Any, Any], error: NexusError) -> None:
    """Refuse the handshake with an HTTP status, which the gateway understands: it asks the next agent."""
    await socket.send({"type": "websocket.http.response.start", "status": error.status, "headers": []})
    await socket.send({"type": "websocket.http.response.body", "body": b"", "more_body": False})


async def _send_events(socket: WebSocket[Any, Any, Any], feed: AsyncIterator[Event | None]) -> None:
    async for event in feed:
        await socket.send_data(_encode(flat(event) if event else {"type": "ping"}).decode(), mode="text")
    await socket.close(code=SERVICE_RESTART)


async def _obey(socket: WebSocket[Any, Any, Any], conversations: Conversations, conversation: str, raw: str) -> None:
    try:
        said = _understood(raw)
        if said.type == "message":
            await conversations.accept(
                socket.user, conversation, said.text, client_id=said.client_id, create=said.create
            )
        elif said.type == "stop":
            await conversations.cancel(socket.user, conversation, said.turn)
        else:
            raise BadInput("Say {type: message, text, client_id} or {type: stop, turn}.")
    except NexusError as error:
        problem = {"type": "problem", "status": error.status, "title": error.title, "detail": error.detail}
        await socket.send_data(_encode(problem).decode(), mode="text")


def _understood(raw: str) -> FromSocket:
    try:
        return msgspec.json.decode(raw, type=FromSocket)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput("This is not a JSON object with a type.") from error


@get("/c/{conversation:str}/events", operation_id="follow_page")
async def page_events(
    request: Request[Any, Any, Any], conversations: Service, conversation: str, cursor: str = ""
) -> Stream:
    """What an open page listens to."""
    return await stream_of(request, conversations, conversation, cursor)


async def stream_of(
    request: Request[Any, Any, Any], conversations: Conversations, conversation: str, cursor: str, turn: str = ""
) -> Stream:
    """Answer with a conversation's feed; a browser's Last-Event-ID wins over `cursor`."""
    after = request.headers.get("last-event-id") or cursor
    if len(after) > 200:
        raise BadInput("This cursor is not one of ours.")
    feed = await conversations.join(request.user, conversation, after, turn)
    return Stream(as_sse(feed), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
