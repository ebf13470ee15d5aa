"""Game day: hurt an agent on purpose and watch what follows."""

from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response, Stream

from appliance.core.errors import NotFound
from appliance.core.scaling import whole
from appliance.web.roles import needs
from control_plane.live import Live
from control_plane.pages import acts
from control_plane.pages.common import Agents, Asked, Changes, Reads, Service, confirm, done, framed, live_block, sent
from control_plane.queries.games import GameReads, GameView

Games = NamedDependency[SkipValidation[GameReads]]
Readings = NamedDependency[SkipValidation[Live[GameView]]]
WHERE = "/control/game-day"
ADMIN = [needs("admin")]


@get(WHERE, operation_id="game_day_page", include_in_schema=False)
async def game_day(request: Asked, games: Games) -> Response[str]:
    """Whom to hurt, and what followed the last time."""
    view = await games.view()
    return framed(request, "game_day.html", view.paused, view=view)


@get(f"{WHERE}/live", operation_id="game_day_live", include_in_schema=False)
async def game_day_live(request: Asked, games_live: Readings, logins: Service) -> Stream:
    """The same, again and again while the page is open."""
    return live_block(request, "game_day.html", games_live, logins)


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
    form = await sent(request)
    if hurt == "freeze":
        seconds = whole(form.fields.get("seconds", acts.FREEZE_S))
        outcome = await operations.freeze(agent_id, seconds, by=form.by, key=form.key)
    elif hurt == "kill":
        outcome = await operations.kill(agent_id, by=form.by, key=form.key)
    else:
        raise NotFound
    return done(request, WHERE, f"{outcome}.")


HANDLERS = [game_day, game_day_live, hurt_preview, hurt_form]
