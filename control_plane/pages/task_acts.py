"""What can be done to tasks, in words, and the forms that do it: to one, to those ticked, to all that are dead."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.datastructures import FormMultiDict

from appliance.core.errors import BadInput, Conflict, NotFound
from appliance.core.records import User
from appliance.core.task_acts import ACTIONS, MAX_REASON, Action, Outcome, TaskActs
from appliance.core.task_lists import TaskLine, TaskSeen
from control_plane.pages.acts import Act, Field
from control_plane.pages.common import key_of

TASKS, DEAD = "/control/tasks", "/control/dead"
_MEANS: dict[Action, str] = {
    "cancel": "What waits ends at once; what runs is asked to stop and does so within about two seconds. What it did "
    "outside until then stays done. Sub-agents of a turn are stopped with it.",
    "requeue": "It waits for an agent again, with all its tries. Steps that were finished are not repeated, unless its "
    "payload is edited. Agents are told at once, or by the next sweep, within seconds.",
    "discard": "It is cancelled for good and leaves this list; its row, its reason and its timeline stay.",
}
_REASON = Field("reason", "", "Why, for those who read it later", most=MAX_REASON, needed=False)


def action_of(typed: str) -> Action:
    """Return the act an address names; NotFound when there is none."""
    for action in ACTIONS:
        if action == typed:
            return action
    raise NotFound


def why_not(line: TaskLine, action: Action) -> str:
    """Return why an act makes no sense for a task; '' when it does."""
    return {"cancel": line.no_cancel, "requeue": line.no_requeue, "discard": line.no_discard}[action]


def of_one(seen: TaskSeen, action: Action) -> Act:
    """Show what an act on one task means.

    Raises:
        Conflict: it makes no sense for it.
    """
    line = seen.line
    if why := why_not(line, action):
        raise Conflict(why)
    fields = [_REASON] if action == "discard" else []
    if action == "requeue":
        text = json.dumps(seen.payload, ensure_ascii=False, indent=2)
        fields = [Field("payload", text, "Payload, a JSON object; edit it if that is what was wrong", rows=_rows(text))]
    return Act(
        f"{action.capitalize()} {'turn' if line.is_turn else line.kind} {str(line.id)[:8]}", _MEANS[action],
        f"{TASKS}/{line.id}/{action}", action.capitalize(), f"nexus {action} {str(line.id)[:8]}",
        back=f"{TASKS}/{line.id}", fields=tuple(fields), dangerous=action != "requeue",
    )  # fmt: skip


def _rows(text: str) -> int:
    return min(16, max(4, text.count("\n") + 2))


def of_chosen(action: Action, ids: list[UUID]) -> Act:
    """Show what an act on several dead tasks means."""
    fields = [Field("id", str(it), hidden=True) for it in ids]
    number = f"{len(ids)} dead task{'' if len(ids) == 1 else 's'}"
    few = " ".join(str(it)[:8] for it in ids[:3])
    return Act(
        f"{action.capitalize()} {number}", _MEANS[action], f"{DEAD}/{action}", f"{action.capitalize()} {number}",
        f"nexus {action} {few}{' …' if len(ids) > 3 else ''}", back=DEAD,
        fields=(*fields, *([_REASON] if action == "discard" else [])), dangerous=action == "discard",
    )  # fmt: skip


def of_all_dead(action: Action, kind: str) -> Act:
    """Show what an act on all that are dead now means; those that die later are not meant."""
    fields = [Field("until", datetime.now(UTC).isoformat(), hidden=True), Field("kind", kind, hidden=True)]
    what = f"all dead tasks of kind {kind}" if kind else "all dead tasks"
    more = " Turns are left alone: their people try them again." if action == "requeue" else ""
    return Act(
        f"{action.capitalize()} {what}", f"{_MEANS[action]}{more} Meant is what is dead at this moment.",
        f"{DEAD}/{action}", f"{action.capitalize()} {what}",
        f"nexus {action} --all-dead{f' --kind {kind}' if kind else ''}", back=DEAD,
        fields=(*fields, *([_REASON] if action == "discard" else [])), dangerous=action == "discard",
    )  # fmt: skip


def ids_of(typed: list[str]) -> list[UUID]:
    """Return what was ticked; BadInput when nothing was, or that is no id."""
    try:
        ids = [UUID(it) for it in typed]
    except ValueError:
        raise BadInput("That is no list of tasks; reload the page and tick them again.") from None
    if not ids:
        raise BadInput("No task was chosen: tick at least one.")
    return ids


async def on_one(request: Request[Any, Any, Any], acts: TaskActs, task: UUID, action: Action) -> Outcome:
    """Carry out the form of one task."""
    form, user = await request.form(), _user(request)
    payload = form.get("payload") if action == "requeue" else None
    return await acts.one(
        action, task, by=user.name, key=key_of(form), payload=payload, reason=str(form.get("reason", ""))
    )


async def on_dead(request: Request[Any, Any, Any], acts: TaskActs, action: Action) -> Outcome:
    """Carry out the form of those ticked, or of all that were dead when it was shown."""
    form, user = await request.form(), _user(request)
    asked: dict[str, Any] = {"by": user.name, "key": key_of(form), "reason": str(form.get("reason", ""))}
    if until := form.get("until"):
        return await acts.all_dead(action, str(form.get("kind", "")), until=_moment(until), **asked)
    return await acts.many(action, ids_of(_all(form, "id")), **asked)


def _all(form: FormMultiDict, name: str) -> list[str]:
    return [str(it) for it in form.getall(name, [])]


def _moment(typed: str) -> datetime:
    try:
        found = datetime.fromisoformat(typed)
    except ValueError:
        raise BadInput("That is no moment; reload the page and send the form again.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _user(request: Request[Any, Any, Any]) -> User:
    user: User = request.user
    return user
