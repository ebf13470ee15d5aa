"""The JSON face of the chat."""

from typing import Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response, Stream

from agent_image.runner.conversations import Conversations, Transcript
from agent_image.runner.streams import EVENT_STREAM, as_sse, stream_of, until_turn_ends
from appliance.core.approvals import Approval
from appliance.core.records import Conversation, TaskState

Service = NamedDependency[SkipValidation[Conversations]]


class NewConversation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /conversations."""

    id: str | None = None
    title: str = ""


class NewMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /conversations/{id}/messages; the same `client_id` sent twice is one message."""

    text: str
    client_id: str = ""
    create: bool = False


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /conversations/{id}/questions/{question}: one of the question's `choices`."""

    answer: str


class AcceptedMessage(msgspec.Struct, frozen=True):
    """The message is committed: it will be answered, whatever dies."""

    message_id: str
    turn: str
    turn_no: int
    state: TaskState
    attempt: int
    duplicate: bool
    cursor: str
    """Where /events tells of this turn; '' when Redis could not say: then begin without a cursor."""


class ConversationApi(Controller):
    """Conversations as JSON under /api/v1."""

    path = "/api/v1/conversations"
    tags = ("conversations",)

    @get(operation_id="list_conversations")
    async def listing(self, request: Request[Any, Any, Any], conversations: Service, q: str = "") -> list[Conversation]:
        """Your conversations, newest first."""
        return await conversations.listing(request.user, q)

    @post(operation_id="create_conversation")
    async def create(
        self, request: Request[Any, Any, Any], conversations: Service, data: NewConversation
    ) -> Conversation:
        """Begin a conversation."""
        return await conversations.create(request.user, data.id, data.title)

    @get("/{conversation:str}", operation_id="get_conversation")
    async def show(self, request: Request[Any, Any, Any], conversations: Service, conversation: str) -> Transcript:
        """What was said, and the cursor from which /events goes on."""
        return await conversations.transcript(request.user, conversation)

    @delete("/{conversation:str}", operation_id="delete_conversation")
    async def remove(self, request: Request[Any, Any, Any], conversations: Service, conversation: str) -> None:
        """Delete a conversation."""
        await conversations.delete(request.user, conversation)

    @post("/{conversation:str}/messages", operation_id="send_message", status_code=202)
    async def send(
        self, request: Request[Any, Any, Any], conversations: Service, conversation: str, data: NewMessage
    ) -> Response[AcceptedMessage] | Stream:
        """Send a message. With `Accept: text/event-stream` the answer itself is the response.

        It ends with the turn; or with `moving`, if its agent stops before: /events has the rest.
        """
        accepted = await conversations.accept(
            request.user, conversation, data.text, client_id=data.client_id, create=data.create
        )
        turn = accepted.turn
        if EVENT_STREAM in request.headers.get("accept", ""):
            feed = await conversations.follow(request.user, conversation, accepted.cursor, turn.id)
            return Stream(as_sse(until_turn_ends(feed, turn.id)), media_type=EVENT_STREAM, status_code=200)
        body = AcceptedMessage(
            accepted.message_id, turn.id, turn.turn_no, turn.state, turn.attempt, accepted.duplicate, accepted.cursor
        )
        return Response(body, status_code=202)

    @post("/{conversation:str}/turns/{turn:str}/cancel", operation_id="cancel_turn", status_code=202)
    async def cancel(
        self, request: Request[Any, Any, Any], conversations: Service, conversation: str, turn: str
    ) -> dict[str, TaskState]:
        """Stop a turn."""
        return {"state": await conversations.cancel(request.user, conversation, turn)}

    @post("/{conversation:str}/questions/{question:str}", operation_id="answer_question", status_code=200)
    async def answer(
        self, request: Request[Any, Any, Any], conversations: Service, conversation: str, question: str, data: Choice
    ) -> Approval:
        """Answer what a turn asks you; the first answer counts and comes back."""
        return await conversations.answer(request.user, conversation, question, data.answer)

    @get("/{conversation:str}/events", operation_id="follow_conversation")
    async def events(
        self, request: Request[Any, Any, Any], conversations: Service, conversation: str, cursor: str = "",
        turn: str = "",
    ) -> Stream:  # fmt: skip
        """Everything that happens in this conversation after `cursor`, as server-sent events.

        If events were missed, the end of `turn` is told from its row, before the snapshot.
        """
        return await stream_of(request, conversations, conversation, cursor, turn)
