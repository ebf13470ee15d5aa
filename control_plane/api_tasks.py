"""Tasks as JSON: the same lists and acts as the pages. `Idempotency-Key` (a UUID) makes a request count once."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody, Parameter

from appliance.core.task_acts import Action, Outcome
from appliance.core.task_lists import PAGE, ConversationSeen, TaskPage, TaskSeen
from control_plane.api import OPERATOR, Asked, Key, by, key_of
from control_plane.pages.conversations import Before, Sessions
from control_plane.pages.tasks import Changes, Lists, Only, Text
from control_plane.queries.sessions import SessionSeen

WHERE = "/control/api/v1"
Limit = Annotated[int, Parameter(ge=1, le=500)]


class OneAct(msgspec.Struct, frozen=True):
    """What an act on one task needs. `payload` (requeue): instead of its own. `reason`: why it is discarded."""

    payload: dict[str, Any] | None = None
    reason: str = ""


class ManyAct(msgspec.Struct, frozen=True):
    """On which tasks: these, or `all_dead` ones (of a kind; dead at a moment, without it now)."""

    ids: tuple[UUID, ...] = ()
    all_dead: bool = False
    kind: str = ""
    until: datetime | None = None
    reason: str = ""


@get(f"{WHERE}/tasks", operation_id="get_tasks")
async def tasks(task_lists: Lists, only: Only, after: Text = "", limit: Limit = PAGE) -> TaskPage:
    """How much waits by priority, and tasks; `after` takes `next` of the page before."""
    return await task_lists.page(only, after, limit)


@get(f"{WHERE}/tasks/{{task:str}}", operation_id="get_task")
async def task(task_lists: Lists, task: FromPath[str]) -> TaskSeen:
    """One task with its timeline; the beginning of its id suffices."""
    return await task_lists.one(await task_lists.find(task))


@get(f"{WHERE}/conversations/{{conversation:str}}", operation_id="get_conversation_turns")
async def conversation(task_lists: Lists, conversation: FromPath[str], before: Before = None) -> ConversationSeen:
    """A conversation's turns with their timelines, the newest first."""
    return await task_lists.conversation(conversation, before)


@get(f"{WHERE}/conversations/{{conversation:str}}/session", operation_id="get_session")
async def session(task_lists: Lists, session_reads: Sessions, conversation: FromPath[str]) -> SessionSeen:
    """A conversation's working memory: who has it, with which tools, sub-agents and summary; null: read from rows."""
    return await session_reads.of((await task_lists.conversation(conversation)).id)


@post(f"{WHERE}/tasks/{{task:str}}/{{action:str}}", operation_id="act_on_task", status_code=200, guards=OPERATOR)
async def act(
    request: Asked, task_lists: Lists, task_changes: Changes, task: FromPath[str], action: FromPath[Action],
    data: JSONBody[OneAct], key: Key = None,
) -> Outcome:  # fmt: skip
    """Cancel, requeue or discard one task."""
    payload = None if data.payload is None else json.dumps(data.payload)
    return await task_changes.one(
        action, await task_lists.find(task), by=by(request), key=key_of(key), payload=payload, reason=data.reason
    )


@post(f"{WHERE}/tasks/{{action:str}}", operation_id="act_on_tasks", status_code=200, guards=OPERATOR)
async def act_on_many(
    request: Asked, task_changes: Changes, action: FromPath[Literal["cancel", "requeue", "discard"]],
    data: JSONBody[ManyAct], key: Key = None,
) -> Outcome:  # fmt: skip
    """Cancel, requeue or discard several tasks, or requeue or discard all dead ones; says how many, and why not."""
    if data.all_dead:
        return await task_changes.all_dead(
            action, data.kind, by=by(request), key=key_of(key), until=data.until, reason=data.reason
        )
    return await task_changes.many(action, data.ids, by=by(request), key=key_of(key), reason=data.reason)


TASK_API = [tasks, task, conversation, session, act, act_on_many]
