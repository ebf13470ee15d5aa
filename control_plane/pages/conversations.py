"""A conversation as an operator sees it: its turns, each with its steps, owners and attempts."""

from datetime import UTC, datetime
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation
from litestar.response import Response

from control_plane.pages.common import Asked, Reads, framed
from control_plane.pages.tasks import Lists
from control_plane.queries.sessions import SessionReads

Sessions = NamedDependency[SkipValidation[SessionReads]]
Before = Annotated[int | None, Parameter(ge=1, le=2**31 - 1)]


@get("/control/conversations/{conversation:str}", operation_id="conversation_page", include_in_schema=False)
async def conversation(
    request: Asked, queries: Reads, task_lists: Lists, session_reads: Sessions, conversation: str, before: Before = None
) -> Response[str]:
    """Its working memory and its turns, the newest first, a page at a time."""
    seen = await task_lists.conversation(conversation, before)
    memory = await session_reads.of(seen.id)
    return await framed(
        request, "conversation.html", queries, seen=seen, memory=memory, before=before, today=datetime.now(UTC).date()
    )


HANDLERS = [conversation]
