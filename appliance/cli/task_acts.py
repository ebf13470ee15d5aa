"""`nexus cancel`, `requeue` and `discard`: what an operator does to tasks."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, out
from appliance.cli.progress import Patience
from appliance.core.errors import BadInput, Conflict
from appliance.core.task_acts import Action, Outcome, TaskActs
from appliance.core.task_lists import TaskLists

TasksArgument = Annotated[list[str] | None, typer.Argument(help="Their ids, or the beginnings of them.")]
AllOption = Annotated[bool, typer.Option("--all-dead", help="All that are dead now.")]
KindOption = Annotated[str, typer.Option(help="With --all-dead: only those of this kind.")]


def cancel(
    task: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")], home: HomeOption = HOME
) -> None:
    """End a task or a turn: at once if it waits, within about two seconds if it runs."""
    _do(Place(home), "cancel", [task], everything=False, kind="")


def requeue(
    tasks: TasksArgument = None,
    all_dead: AllOption = False,
    kind: KindOption = "",
    payload: Annotated[str, typer.Option(help="Another payload for one task: a JSON object, or @FILE.")] = "",
    home: HomeOption = HOME,
) -> None:
    """Give dead tasks all their tries again."""
    _do(Place(home), "requeue", tasks or [], everything=all_dead, kind=kind, payload=payload)


def discard(
    tasks: TasksArgument = None,
    all_dead: AllOption = False,
    kind: KindOption = "",
    reason: Annotated[str, typer.Option(help="Why, for those who read it later.")] = "",
    home: HomeOption = HOME,
) -> None:
    """Cancel dead tasks for good; their rows and timelines stay."""
    _do(Place(home), "discard", tasks or [], everything=all_dead, kind=kind, reason=reason)


def _do(
    place: Place, action: Action, tasks: list[str], *, everything: bool, kind: str, payload: str = "", reason: str = ""
) -> None:
    if everything == bool(tasks):
        raise BadInput(f"Say which: `nexus {action} ID...`, or `nexus {action} --all-dead` without any id.")
    if kind and not everything:
        raise BadInput("--kind goes with --all-dead: ids name their tasks already.")
    with Patience(f"{action.rstrip('e')}ing"):
        outcome = asyncio.run(_done(place, action, tasks, kind, _text_of(payload), reason))
    if outcome.refused and not outcome.done:
        raise Conflict(outcome.sentence)
    out.print(outcome.sentence, markup=False)


async def _done(place: Place, action: Action, tasks: list[str], kind: str, payload: str | None, reason: str) -> Outcome:
    async with place.postgres() as postgres:
        acts, lists, key = TaskActs(postgres), TaskLists(postgres), uuid4()
        if not tasks:
            now = datetime.now(UTC)
            return await acts.all_dead(action, kind, by=ADMIN, key=key, until=now, reason=reason)
        ids: list[UUID] = [await lists.find(typed) for typed in tasks]
        if payload is not None and len(ids) > 1:
            raise BadInput("A payload is for one task: name one id.")
        if len(ids) == 1:
            return await acts.one(action, ids[0], by=ADMIN, key=key, payload=payload, reason=reason)
        return await acts.many(action, ids, by=ADMIN, key=key, reason=reason)


def _text_of(typed: str) -> str | None:
    """Return a payload as it was typed, or what stands in the file that `@` names; None when there is none."""
    if not typed.startswith("@"):
        return typed or None
    try:
        return Path(typed[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{typed[1:]} cannot be read: {error}.") from None
