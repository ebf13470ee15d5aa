"""Dead letters: what failed for good, with its reason; requeue or discard, one, several or all."""

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import get, post
from litestar.params import Parameter
from litestar.response import Response

from appliance.core.errors import NotFound
from appliance.core.records import TaskState
from appliance.core.task_acts import Action
from appliance.core.task_lists import MOST, Filter
from control_plane.pages import task_acts
from control_plane.pages.common import Asked, Reads, confirm, done, framed
from control_plane.pages.task_acts import DEAD
from control_plane.pages.tasks import OPERATOR, Changes, Lists, Text

Ticked = Annotated[list[str] | None, Parameter(query="id", required=False)]


@get(DEAD, operation_id="dead_page", include_in_schema=False)
async def dead(request: Asked, queries: Reads, task_lists: Lists, kind: Text = "", after: Text = "") -> Response[str]:
    """What is dead, the newest first; not live, so that what was ticked stays ticked."""
    kind = kind.strip()
    view = await task_lists.page(Filter(state=TaskState.DEAD, kind=kind), after)
    following = f"{DEAD}?{urlencode({'kind': kind, 'after': view.next})}" if view.next else ""
    return await framed(
        request, "dead.html", queries, view=view, kind=kind, after=after, following=following, most=MOST,
        today=datetime.now(UTC).date(),
    )  # fmt: skip


@get(f"{DEAD}/{{act:str}}", operation_id="dead_act_page", include_in_schema=False, guards=OPERATOR)
async def act_preview(
    request: Asked,
    queries: Reads,
    act: str,
    ticked: Ticked = None,
    everything: bool = False,
    kind: Text = "",
) -> Response[str]:
    """What an act on those ticked, or on all, means before it is done."""
    action = _action(act)
    if everything:
        return await confirm(request, queries, task_acts.of_all_dead(action, kind.strip()))
    return await confirm(request, queries, task_acts.of_chosen(action, task_acts.ids_of(ticked or [])))


@post(f"{DEAD}/{{act:str}}", operation_id="dead_act_form", include_in_schema=False, guards=OPERATOR)
async def act_form(request: Asked, task_changes: Changes, act: str) -> Response[Any]:
    """Do it."""
    outcome = await task_acts.on_dead(request, task_changes, _action(act))
    return done(request, DEAD, outcome.sentence)


def _action(typed: str) -> Action:
    """Return requeue or discard: what is dead cannot be cancelled."""
    if (action := task_acts.action_of(typed)) == "cancel":
        raise NotFound
    return action


HANDLERS = [dead, act_preview, act_form]
