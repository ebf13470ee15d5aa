"""One agent: its facts, its log as it is written, what can be done."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated
from uuid import uuid4

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation
from litestar.response import Response, Stream

from appliance.core.desired_fleet import slot_of
from appliance.core.errors import NexusError, NotFound, StoreAway
from appliance.web.auth import Logins
from appliance.web.rendering import block_renderer
from control_plane.fleet import MAX_LINES, Fleet
from control_plane.live import PING
from control_plane.log_lines import LEVELS, LogLine, Wanted, newer, read
from control_plane.pages.acts import offered
from control_plane.pages.agents import WHERE, Agents, Readings
from control_plane.pages.common import Asked, Reads, Service, event_stream, framed, may, streamed
from control_plane.queries.agents import AgentRow, AgentsView

Programs = NamedDependency[SkipValidation[Fleet]]
Level = Annotated[str, Parameter(max_length=20)]
Text = Annotated[str, Parameter(max_length=200)]
LINES = 100
CHECK_S = 2.0
"""So often a quiet log says that it is still there, and asks whether its reader is still signed in."""


@get(f"{WHERE}/{{agent_id:str}}", operation_id="agent_page", include_in_schema=False)
async def agent(
    request: Asked, queries: Reads, agent_reads: Agents, fleet: Programs, agent_id: str, level: Level = "info",
    text: Text = "",
) -> Response[str]:  # fmt: skip
    """One agent."""
    row, view = await agent_reads.one(agent_id)
    lines, trouble = await _last_lines(fleet, row, Wanted(level, text))
    return await framed(
        request, "agent.html", queries, row=row, view=view, acts=offered(row), lines=lines, trouble=trouble,
        level=level, text=text, levels=LEVELS, key=uuid4(),
    )  # fmt: skip


@get(f"{WHERE}/{{agent_id:str}}/live", operation_id="agent_live", include_in_schema=False)
async def agent_live(request: Asked, agents_live: Readings, logins: Service, agent_id: str) -> Stream:
    """Its facts, again and again while the page is open."""
    render = block_renderer(request, "agent.html", "facts")

    def of_this_one(view: AgentsView) -> str:
        row = next((row for row in view.rows if row.id == agent_id), AgentRow(agent_id))
        return render(row=row, view=view, may=may(request))

    return streamed(request, agents_live, logins, of_this_one)


@get(f"{WHERE}/{{agent_id:str}}/logs", operation_id="agent_logs", include_in_schema=False)
async def logs(
    request: Asked, logins: Service, fleet: Programs, agent_id: str, level: Level = "info", text: Text = "",
    after: Text = "",
) -> Stream:  # fmt: skip
    """What it logs after a moment, as HTML lines; a browser that comes back goes on where it was."""
    render = block_renderer(request, "log_line.html", "line")
    lines = fleet.logs(_slot(agent_id), LINES, follow=True)
    seen = request.headers.get("last-event-id", "") or after
    return event_stream(_followed(request, logins, newer(lines, seen), Wanted(level, text), render))


@get(f"{WHERE}/{{agent_id:str}}/log.txt", operation_id="agent_log_file", include_in_schema=False)
async def log_file(fleet: Programs, agent_id: str) -> Response[str]:
    """The end of its log as a file."""
    raw = [line async for line in fleet.logs(_slot(agent_id), MAX_LINES, follow=False)]
    name = {"Content-Disposition": f'attachment; filename="{agent_id}.log"'}
    return Response("\n".join([*raw, ""]), media_type="text/plain", headers=name)


def _slot(agent_id: str) -> int:
    slot = slot_of(agent_id)
    if slot is None:
        raise NotFound("It does not belong to this fleet, so its log is not here.")
    return slot


async def _last_lines(fleet: Fleet, row: AgentRow, wanted: Wanted) -> tuple[list[LogLine], str]:
    """Return the end of its log, or why it cannot be read."""
    try:
        raw = [line async for line in fleet.logs(_slot(row.id), LINES, follow=False)]
    except NexusError as error:
        return [], error.detail
    return [line for line, text in ((read(it), it) for it in raw) if wanted.lets(text, line)], ""


async def _followed(
    request: Asked, logins: Logins, lines: AsyncIterator[str], wanted: Wanted, render: Callable[..., str]
) -> AsyncIterator[bytes]:
    """Encode wanted lines as events until the log ends or the login does."""
    checked, coming = 0.0, asyncio.ensure_future(anext(lines, None))
    try:
        while True:
            await asyncio.wait({coming}, timeout=CHECK_S)
            now = asyncio.get_running_loop().time()
            if now - checked > CHECK_S:
                if not await _signed_in(request, logins):
                    return
                checked = now
                yield PING
            if not coming.done():
                continue
            raw = coming.result()
            if raw is None:
                return
            if wanted.lets(raw, line := read(raw)):
                html = render(line=line).replace("\r", "&#13;").replace("\n", "&#10;")
                yield f"id: {line.at}\ndata: {html}\n\n".encode()
            coming = asyncio.ensure_future(anext(lines, None))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming


async def _signed_in(request: Asked, logins: Logins) -> bool:
    """Whether the login goes on; while PostgreSQL is away no login can end."""
    try:
        return await logins.resolve(request.auth) is not None
    except StoreAway:
        return True


HANDLERS = [agent, agent_live, logs, log_file]
