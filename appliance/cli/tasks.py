"""`nexus tasks` and `nexus dead`: which tasks there are, and what happened to one."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from appliance.cli.common import HOME, HomeOption, Place, local_time, out
from appliance.cli.progress import Patience
from appliance.core.records import TaskState
from appliance.core.task_lists import MOST, Filter, PriorityLine, TaskLine, TaskLists, TaskPage, TaskSeen
from appliance.core.task_timeline import Moment
from appliance.web.rendering import after, span

_MOST_SHOWN = 500
_STYLES = {"dead": "red", "failed": "red", "running": "cyan", "done": "green"}
JsonOption = Annotated[bool, typer.Option("--json", help="For programs; --schema describes it.")]
SchemaOption = Annotated[bool, typer.Option("--schema", help="Print the JSON schema of --json.")]
LimitOption = Annotated[int, typer.Option(min=1, max=_MOST_SHOWN, help="How many.")]


def tasks(
    task: Annotated[str, typer.Argument(help="One of them, by its id or the beginning of it: its timeline.")] = "",
    state: Annotated[str, typer.Option(help="queued, running, waiting, done, failed, dead or cancelled.")] = "",
    kind: Annotated[str, typer.Option(help="Only these; a turn's is conversation.")] = "",
    conversation: Annotated[str, typer.Option(help="Only those of one conversation, by its id.")] = "",
    limit: LimitOption = 20,
    after: Annotated[str, typer.Option(help="Where the page before ended: its last line says it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    home: HomeOption = HOME,
) -> None:
    """Which tasks there are, how many wait, and what happened to one; --json prints a `TaskPage` or a `TaskSeen`."""
    place = Place(home)
    if task:
        with Patience("reading the task"):
            seen = asyncio.run(_one(place, task))
        return out.print_json(msgspec.json.encode(seen).decode()) if as_json else show_one(seen)
    return _list(place, Filter(state, kind, conversation=conversation), limit, after, as_json=as_json)


def dead(
    kind: Annotated[str, typer.Option(help="Only these.")] = "",
    limit: LimitOption = 20,
    after: Annotated[str, typer.Option(help="Where the page before ended: its last line says it.")] = "",
    as_json: JsonOption = False,
    schema: SchemaOption = False,
    home: HomeOption = HOME,
) -> None:
    """What failed for good, and why; --json prints a `TaskPage`."""
    if schema:
        return out.print_json(json.dumps(msgspec.json.schema(TaskPage)))
    return _list(Place(home), Filter(state=TaskState.DEAD, kind=kind), limit, after, as_json=as_json)


def _list(place: Place, only: Filter, limit: int, after: str, *, as_json: bool) -> None:
    with Patience("reading the tasks"):
        found = asyncio.run(_page(place, only, after, limit))
    return out.print_json(msgspec.json.encode(found).decode()) if as_json else show(found)


async def _page(place: Place, only: Filter, after: str, limit: int) -> TaskPage:
    async with place.postgres() as postgres:
        return await TaskLists(postgres).page(only, after, limit)


async def _one(place: Place, task: str) -> TaskSeen:
    async with place.postgres() as postgres:
        lists = TaskLists(postgres)
        return await lists.one(await lists.find(task))


def show(page: TaskPage) -> None:
    """Print how much waits, then one line a task."""
    for line in page.priorities:
        out.print(lane(line), style="dim", markup=False)
    out.print(table_of(page, out.width) if page.tasks else "No task fits.")
    if page.next:
        out.print(f"more: --after {page.next}", style="dim", markup=False)


def table_of(page: TaskPage, width: int) -> Table:
    """Return one line a task; where there is little room its last cell is cut, and none of the others."""
    heads, lines = ("id", "kind", "state", "person", "agent", "tries", "since"), [cells(task) for task in page.tasks]
    widths = [max(map(len, column)) for column in zip(heads, *(line[:-1] for line in lines), strict=True)]
    table = Table(*heads, box=None, pad_edge=False, header_style="dim")
    room = max(10, width - sum(widths) - 2 * len(heads))
    table.add_column("about", overflow="ellipsis", no_wrap=True, max_width=room)
    for column, widest in zip(table.columns[:-1], widths, strict=True):
        column.width, column.no_wrap = widest, True
    for task, line in zip(page.tasks, lines, strict=True):
        table.add_row(*line, style=_STYLES.get(task.state))
    return table


def lane(line: PriorityLine) -> str:
    """Return one priority in words."""
    waiting = f"more than {MOST:,}" if line.waiting >= MOST else f"{line.waiting:,}"
    oldest = f", the oldest for {span(line.oldest_s)}" if line.waiting else ""
    later = f", {line.later:,} for later" if line.later else ""
    return f"{line.priority:<7} {waiting} waiting{oldest}{later}, {line.running:,} running, {line.dead:,} dead"


def cells(task: TaskLine) -> tuple[str, ...]:
    """Return what a line of the table shows; what failed says why."""
    failed = task.state in (TaskState.DEAD, TaskState.FAILED)
    about = task.reason if failed else task.no_agent or task.about
    name = f"turn {task.turn_no}" if task.is_turn else task.kind
    state = "stopping" if task.stopping else str(task.state)
    words = (task.id.hex[:8], name, state, task.person, task.agent or "-", str(task.attempt), local_time(task.at))
    return tuple(_plain(word) for word in (*words, about))


def _plain(words: str) -> str:
    """Return words without what rich would take for its markup, on one line."""
    return " ".join(words.split()).replace("[", "\\[")


def show_one(seen: TaskSeen) -> None:
    """Print one task: what it is, what happened, what it was given and what came of it."""
    line = seen.line
    name = f"turn {line.turn_no}" if line.is_turn else line.kind
    out.print(f"{name} {line.id}  {line.state}, {line.priority}, of {line.person}", markup=False)
    if line.needs:
        out.print(f"{'prefers' if line.prefers else 'needs'}: {', '.join(line.needs)}", markup=False)
    if line.no_agent:
        out.print(line.no_agent, style="yellow", markup=False)
    for moment in seen.moments:
        out.print(told(moment, seen.moments[0].at), markup=False)
    if line.state is TaskState.DEAD:
        how = line.no_requeue or f"nexus requeue {line.id.hex[:8]}"
        out.print(f"to try it again: {how}", style="dim", markup=False)
    given = seen.message if line.is_turn else json.dumps(seen.payload, ensure_ascii=False)
    came = seen.answer if line.is_turn else json.dumps(seen.result, ensure_ascii=False) if seen.result else ""
    for title, text in (("given", given), ("result", came)):
        if text:
            out.print(f"{title}: {text}", markup=False)
    for child in seen.children:
        out.print(f"  published {child.kind} {child.id.hex[:8]}: {child.state}", markup=False)


def told(moment: Moment, first: datetime) -> str:
    """Return one moment as a line: when, how long after the beginning, what, why."""
    at = moment.at.astimezone(UTC)
    why = f": {moment.why}" if moment.why else ""
    where = f" on {moment.agent}" if moment.agent and moment.agent not in moment.what else ""
    return f"  {at:%H:%M:%S} {'+' + after((moment.at - first).total_seconds()):>9}  {moment.what}{where}{why}"
