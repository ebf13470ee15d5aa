"""The pages of the chat: ask, do, show. Every form works without JavaScript."""

from typing import Any, Literal
from uuid import uuid4

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Redirect, Response

from agent_image.runner.chat.markdown import to_html
from agent_image.runner.chat.view import BLANK, TurnView, turns_of, used_in
from agent_image.runner.checked import MAX_TEXT, MAX_TITLE
from agent_image.runner.conversations import Conversations, Transcript
from agent_image.runner.memory.memories import MemoryService
from agent_image.runner.schedules import words
from appliance.core.errors import BadInput, NotFound, Overloaded, StoreAway, TooFewAgents
from appliance.core.records import Conversation
from appliance.core.schedules import Schedules, uuid_of
from appliance.web.protection import readable_form
from appliance.web.rendering import page

Asked = Request[Any, Any, Any]
Service = NamedDependency[SkipValidation[Conversations]]
Planned = NamedDependency[SkipValidation[Schedules]]
Remembered = NamedDependency[SkipValidation[MemoryService]]
EXAMPLES = (
    "Name three primary colours.",
    "Explain in two sentences what a lease is in a distributed system.",
    "Write a haiku about a server that does not mind dying.",
    "/multi Is this haiku any good?\n- poet = builder: Write a haiku about a server\n"
    "- critic = reviewer (after poet): Say what is good about it and what is not",
)
SEE_OTHER: Literal[303] = 303


@get("/", include_in_schema=False)
async def home(request: Asked, conversations: Service) -> Redirect:
    """The newest conversation, or a new one."""
    newest = await conversations.listing(request.user)
    return Redirect(f"/c/{newest[0].id}" if newest else "/new", status_code=SEE_OTHER)


@get("/new", include_in_schema=False)
async def new(
    request: Asked, conversations: Service, schedules: Planned, memories: Remembered, q: str = ""
) -> Response[str]:
    """An empty page with an id of its own; the first message creates the conversation."""
    empty = Transcript(Conversation(id=str(uuid4()), title=""), (), (), (), "")
    return await _chat(request, conversations, schedules, memories, empty, search=q, fresh=True)


@get("/c/{conversation:str}", include_in_schema=False)
async def show(
    request: Asked, conversations: Service, schedules: Planned, memories: Remembered, conversation: str, q: str = ""
) -> Response[str]:
    """One conversation."""
    found = await conversations.transcript(request.user, conversation)
    return await _chat(request, conversations, schedules, memories, found, search=q)


@get("/c/{conversation:str}/turns/{turn:str}", include_in_schema=False)
async def one_turn(
    request: Asked, conversations: Service, memories: Remembered, conversation: str, turn: str
) -> Response[str]:
    """One turn as committed: what an open page puts in place of what it streamed."""
    transcript = await conversations.transcript(request.user, conversation)
    found = next((view for view in await _turns(request, memories, transcript) if view.id == turn), None)
    if found is None:
        raise NotFound
    return page(request, "turn.html", turn=found, conversation=transcript.conversation, to_html=to_html)


@get("/c/{conversation:str}/transcript", include_in_schema=False)
async def transcript(request: Asked, conversations: Service, memories: Remembered, conversation: str) -> Response[str]:
    """All turns: what an open page reads again when it missed something."""
    found = await conversations.transcript(request.user, conversation)
    turns = await _turns(request, memories, found)
    return page(request, "chat.html", block="turns", turns=turns, conversation=found.conversation, to_html=to_html)


@post("/c/{conversation:str}/messages", include_in_schema=False)
async def send(request: Asked, conversations: Service, conversation: str) -> Response[Any]:
    """Accept a message from a plain form; one that is not accepted comes back with the reason, nothing lost."""
    form = await readable_form(request)
    text, client_id, create = form.get("text", ""), form.get("client_id", ""), "create" in form
    try:
        await conversations.accept(request.user, conversation, text, client_id=client_id, create=create)
    except (BadInput, Overloaded, StoreAway, TooFewAgents) as error:
        return page(
            request, "unsent.html", status=error.status, error=error, max_text=MAX_TEXT,
            conversation=conversation, text=text, client_id=client_id, create=create,
        )  # fmt: skip
    return Redirect(f"/c/{conversation}#end", status_code=SEE_OTHER)


@post("/c/{conversation:str}/stop", include_in_schema=False)
async def stop(request: Asked, conversations: Service, conversation: str) -> Redirect:
    """Stop a turn from a plain form."""
    form = await readable_form(request)
    await conversations.cancel(request.user, conversation, form.get("turn", ""))
    return Redirect(f"/c/{conversation}#end", status_code=SEE_OTHER)


@post("/c/{conversation:str}/questions/{question:str}", include_in_schema=False)
async def answer(request: Asked, conversations: Service, conversation: str, question: str) -> Redirect:
    """Answer a question from a plain form."""
    form = await readable_form(request)
    await conversations.answer(request.user, conversation, question, form.get("answer", ""))
    return Redirect(f"/c/{conversation}#end", status_code=SEE_OTHER)


@post("/c/{conversation:str}/title", include_in_schema=False)
async def rename(request: Asked, conversations: Service, conversation: str) -> Redirect:
    """Give a conversation another title."""
    form = await readable_form(request)
    await conversations.rename(request.user, conversation, form.get("title", ""))
    return Redirect(f"/c/{conversation}", status_code=SEE_OTHER)


@post("/c/{conversation:str}/delete", include_in_schema=False)
async def delete(request: Asked, conversations: Service, conversation: str) -> Redirect:
    """Delete a conversation."""
    await conversations.delete(request.user, conversation)
    return Redirect("/", status_code=SEE_OTHER)


@get("/reminders", include_in_schema=False)
async def reminders(request: Asked, schedules: Planned, conversation: str = "") -> Response[str]:
    """What is planned: what an open page reads again after a turn."""
    planned = await schedules.listing(request.user)
    return page(request, "chat.html", block="reminders", planned=planned, words=words, back=conversation)


@post("/reminders/{schedule:str}/cancel", include_in_schema=False)
async def cancel_reminder(request: Asked, schedules: Planned, schedule: str) -> Redirect:
    """Cancel a reminder or a job, and return to the conversation it was done from."""
    form = await readable_form(request)
    await schedules.cancel(request.user, id_=schedule)
    back = form.get("conversation", "")
    return Redirect(f"/c/{uuid_of(back)}" if back else "/", status_code=SEE_OTHER)


async def _turns(request: Asked, memories: MemoryService, transcript: Transcript) -> list[TurnView]:
    """Return its turns, with the memories that answers used as their rows are now: what was erased is gone here too."""
    known = await memories.among(request.user, used_in(transcript))
    return turns_of(transcript, known)


async def _chat(
    request: Asked, conversations: Conversations, schedules: Schedules, memories: MemoryService,
    transcript: Transcript, *, search: str, fresh: bool = False,
) -> Response[str]:  # fmt: skip
    return page(
        request,
        "chat.html",
        conversation=transcript.conversation,
        turns=await _turns(request, memories, transcript),
        cursor=transcript.cursor,
        listing=await conversations.listing(request.user, search),
        search=search,
        planned=await schedules.listing(request.user),
        words=words,
        back="" if fresh else transcript.conversation.id,
        fresh=fresh,
        examples=EXAMPLES,
        max_title=MAX_TITLE,
        client_id=str(uuid4()),
        to_html=to_html,
        blank=BLANK,
        bundled="".join(request.app.state["models"][:1]).startswith("bundled"),
    )


CHAT_HANDLERS = [
    home, new, show, one_turn, transcript, send, stop, answer, rename, delete, reminders, cancel_reminder,
]  # fmt: skip
