"""The tasks: how many wait, which there are, what happened to one; cancel."""

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation
from litestar.response import Response, Stream

from appliance.core.records import PRIORITIES, TaskState
from appliance.core.task_acts import ACTIONS, TaskActs
from appliance.core.task_lists import MOST, Filter, TaskLists, TaskPage, TaskSeen
from appliance.web.rendering import block_renderer
from appliance.web.roles import needs
from control_plane.pages import task_acts
from control_plane.pages.common import Asked, Reads, Service, confirm, done, framed, may, streamed
from control_plane.pages.task_acts import TASKS
from control_plane.queries.tasks import LiveTasks

Lists = NamedDependency[SkipValidation[TaskLists]]
LivePages = NamedDependency[SkipValidation[LiveTasks]]
Changes = NamedDependency[SkipValidation[TaskActs]]
Text = Annotated[str, Parameter(max_length=200)]
InState = Annotated[str, Parameter(query="state", max_length=200)]
"""Litestar keeps the name `state` for itself."""
OPERATOR = [needs("operator")]


def chosen(
    in_state: InState = "", kind: Text = "", priority: Text = "", person: Text = "", conversation: Text = "",
    oldest: bool = False,
) -> Filter:  # fmt: skip
    """Return the filter that an address says."""
    return Filter(in_state, kind.strip(), priority, person.strip(), conversation.strip(), oldest)


Only = NamedDependency[SkipValidation[Filter]]


@get(TASKS, operation_id="tasks_page", include_in_schema=False)
async def tasks(request: Asked, queries: Reads, task_lists: Lists, only: Only, after: Text = "") -> Response[str]:
    """How many tasks wait, and which there are."""
    view = await task_lists.page(only, after)
    return await framed(request, "tasks.html", queries, **_shown(view, only, after), only=only, after=after)


@get(f"{TASKS}/live", operation_id="tasks_live", include_in_schema=False)
async def tasks_live(request: Asked, live_tasks: LivePages, logins: Service, only: Only, after: Text = "") -> Stream:
    """The same, again and again while the page is open."""
    render = block_renderer(request, "tasks.html", "live")

    def shown(view: TaskPage) -> str:
        return render(**_shown(view, only, after), only=only, after=after, may=may(request))

    return streamed(request, live_tasks.page(only, after), logins, shown)


def _shown(view: TaskPage, only: Filter, after: str) -> dict[str, Any]:
    """Return what the list is drawn from, addresses included."""
    chosen = only.chosen

    def to(**other: str) -> str:
        return f"{TASKS}?{urlencode({k: v for k, v in (chosen | other).items() if v})}"

    return {
        "view": view, "most": MOST, "states": list(TaskState), "priorities": PRIORITIES, "to": to,
        "now": (now := datetime.now(UTC)), "today": now.date(), "following": to(after=view.next) if view.next else "",
        "live": f"{TASKS}/live?{urlencode(chosen | ({'after': after} if after else {}))}",
    }  # fmt: skip


@get(f"{TASKS}/{{task:str}}", operation_id="task_page", include_in_schema=False)
async def task(request: Asked, queries: Reads, task_lists: Lists, task: str) -> Response[str]:
    """One task: what it was given, what happened, what came of it."""
    seen = await task_lists.one(await task_lists.find(task))
    return await framed(request, "task.html", queries, **_about(seen))


@get(f"{TASKS}/{{task:str}}/live", operation_id="task_live", include_in_schema=False)
async def task_live(request: Asked, live_tasks: LivePages, task_lists: Lists, logins: Service, task: str) -> Stream:
    """The same, again and again while the page is open."""
    render = block_renderer(request, "task.html", "live")
    reading = live_tasks.one(await task_lists.find(task))
    return streamed(request, reading, logins, lambda seen: render(**_about(seen), may=may(request)))


def _about(seen: TaskSeen) -> dict[str, Any]:
    acts = [action for action in ACTIONS if not task_acts.why_not(seen.line, action)]
    return {"seen": seen, "line": seen.line, "acts": acts, "today": datetime.now(UTC).date()}


@get(f"{TASKS}/{{task:str}}/{{act:str}}", operation_id="task_act_page", include_in_schema=False, guards=OPERATOR)
async def act_preview(request: Asked, queries: Reads, task_lists: Lists, task: str, act: str) -> Response[str]:
    """What an act means, before it is done."""
    action = task_acts.action_of(act)
    return await confirm(request, queries, task_acts.of_one(await task_lists.one(await task_lists.find(task)), action))


@post(f"{TASKS}/{{task:str}}/{{act:str}}", operation_id="task_act_form", include_in_schema=False, guards=OPERATOR)
async def act_form(request: Asked, task_changes: Changes, task_lists: Lists, task: str, act: str) -> Response[Any]:
    """Do something to a task."""
    id_ = await task_lists.find(task)
    outcome = await task_acts.on_one(request, task_changes, id_, task_acts.action_of(act))
    return done(request, f"{TASKS}/{id_}", outcome.sentence)


HANDLERS = [tasks, tasks_live, task, task_live, act_preview, act_form]
