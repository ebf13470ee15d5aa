"""Game day: hurt an agent on purpose and watch what follows."""

from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response, Stream

from appliance.core.errors import NotFound
from appliance.core.records import User
from appliance.web.protection import readable_form
from appliance.web.rendering import block_renderer
from appliance.web.roles import needs
from control_plane.live import Live
from control_plane.operations import Operations
from control_plane.pages import acts
from control_plane.pages.common import Asked, Reads, Service, confirm, done, framed, key_of, may, streamed
from control_plane.queries.agents import AgentReads
from control_plane.queries.games import GameReads, GameView

Games = NamedDependency[SkipValidation[GameReads]]
Readings = NamedDependency[SkipValidation[Live[GameView]]]
Agents = NamedDependency[SkipValidation[AgentReads]]
Changes = NamedDependency[SkipValidation[Operations]]
WHERE = "/control/game-day"
ADMIN = [needs("admin")]


@get(WHERE, operation_id="game_day_page", include_in_schema=False)
async def game_day(request: Asked, queries: Reads, games: Games) -> Response[str]:
    """Whom to hurt, and what followed the last time."""
    return await framed(request, "game_day.html", queries, view=await games.view())


@get(f"{WHERE}/live", operation_id="game_day_live", include_in_schema=False)
async def game_day_live(request: Asked, games_live: Readings, logins: Service) -> Stream:
    """The same, again and again while the page is open."""
    render = block_renderer(request, "game_day.html", "live")
    return streamed(request, games_live, logins, lambda view: render(view=view, may=may(request)))


@get(f"{WHERE}/{{agent_id:str}}/{{hurt:str}}", operation_id="hurt_page", include_in_schema=False, guards=ADMIN)
async def hurt_preview(request: Asked, queries: Reads, agent_reads: Agents, agent_id: str, hurt: str) -> Response[str]:
    """What a hurt means, before it is done."""
    row, _ = await agent_reads.one(agent_id)
    if hurt not in ("freeze", "kill"):
        raise NotFound
    return await confirm(request, queries, acts.freeze(row.id) if hurt == "freeze" else acts.kill(row.id))


@post(f"{WHERE}/{{agent_id:str}}/{{hurt:str}}", operation_id="hurt_form", include_in_schema=False, guards=ADMIN)
async def hurt_form(request: Asked, operations: Changes, agent_id: str, hurt: str) -> Response[Any]:
    """Hurt an agent."""
    form = await readable_form(request)
    user: User = request.user
    if hurt == "freeze":
        for_s = form.get("seconds", acts.FREEZE_S)
        outcome = await operations.freeze(agent_id, for_s, by=user.name, key=key_of(form))
    elif hurt == "kill":
        outcome = await operations.kill(agent_id, by=user.name, key=key_of(form))
    else:
        raise NotFound
    return done(request, WHERE, f"{outcome}.")


HANDLERS = [game_day, game_day_live, hurt_preview, hurt_form]
