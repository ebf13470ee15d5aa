"""The agents: scale, drain, stop, restart, switch over; what each does, uses and logs."""

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
from control_plane.queries.agents import AgentReads, AgentsView

Readings = NamedDependency[SkipValidation[Live[AgentsView]]]
Agents = NamedDependency[SkipValidation[AgentReads]]
Changes = NamedDependency[SkipValidation[Operations]]
WHERE = "/control/agents"
OPERATOR = [needs("operator")]


@get(WHERE, operation_id="agents_page", include_in_schema=False)
async def agents(request: Asked, queries: Reads, agent_reads: Agents) -> Response[str]:
    """All agents and what happens to them."""
    return await framed(request, "agents.html", queries, view=await agent_reads.view())


@get(f"{WHERE}/live", operation_id="agents_live", include_in_schema=False)
async def agents_live(request: Asked, agents_live: Readings, logins: Service) -> Stream:
    """The same, again and again while the page is open."""
    render = block_renderer(request, "agents.html", "live")
    return streamed(request, agents_live, logins, lambda view: render(view=view, may=may(request)))


@get(f"{WHERE}/scale", operation_id="scale_preview_page", include_in_schema=False, guards=OPERATOR)
async def scale_preview(request: Asked, queries: Reads, operations: Changes, agents: str = "") -> Response[str]:
    """What another number of agents would mean; nothing is changed."""
    preview = await operations.preview(agents)
    return await confirm(request, queries, acts.scale(preview))


@post(f"{WHERE}/scale", operation_id="scale_form", include_in_schema=False, guards=OPERATOR)
async def scale(request: Asked, operations: Changes) -> Response[Any]:
    """Wish for another number of agents."""
    form = await readable_form(request)
    user: User = request.user
    wished = await operations.scale(form.get("agents", ""), by=user.name, key=key_of(form))
    return done(request, WHERE, f"{wished.number} agents are wished for; the table shows how far they are.")


@get(f"{WHERE}/{{agent_id:str}}/{{act:str}}", operation_id="act_page", include_in_schema=False, guards=OPERATOR)
async def act_preview(request: Asked, queries: Reads, agent_reads: Agents, agent_id: str, act: str) -> Response[str]:
    """What an act means, before it is done."""
    if act not in acts.OF_AN_AGENT:
        raise NotFound
    row, _ = await agent_reads.one(agent_id)
    return await confirm(request, queries, acts.OF_AN_AGENT[act](row))


@post(f"{WHERE}/{{agent_id:str}}/{{act:str}}", operation_id="act_form", include_in_schema=False, guards=OPERATOR)
async def act_form(request: Asked, operations: Changes, agent_id: str, act: str) -> Response[Any]:
    """Do something to an agent."""
    return done(request, WHERE, await _carried_out(request, operations, agent_id, act))


async def _carried_out(request: Asked, operations: Operations, agent_id: str, act: str) -> str:
    """Do it and say what was done, in a sentence."""
    form = await readable_form(request)
    user: User = request.user
    asked: dict[str, Any] = {"by": user.name, "key": key_of(form)}
    match act:
        case "drain":
            order = await operations.drain(agent_id, form.get("deadline_s", acts.DRAIN_S), **asked)
            return (
                f"{agent_id} drains, for up to {order.deadline_s:g} s, then stops." if order.new
                else f"{agent_id} was asked to drain before, by {order.asked_by}: that order goes on."
            )  # fmt: skip
        case "switchover":
            await operations.switchover(agent_id, **asked)
            return f"The primary was asked to hand its seat to {agent_id}."
        case "stop":
            return f"{await operations.stop(agent_id, **asked)}."
        case "restart":
            return f"{await operations.restart(agent_id, **asked)}."
    raise NotFound


@get("/control/failover/{change:str}", operation_id="failover_page", include_in_schema=False, guards=OPERATOR)
async def failover_preview(request: Asked, queries: Reads, change: str) -> Response[str]:
    """What pausing or resuming automatic failover means."""
    if change not in ("pause", "resume"):
        raise NotFound
    return await confirm(request, queries, acts.PAUSE if change == "pause" else acts.RESUME)


@post("/control/failover/{change:str}", operation_id="failover_form", include_in_schema=False, guards=OPERATOR)
async def failover_form(request: Asked, operations: Changes, change: str) -> Response[Any]:
    """Pause or resume automatic failover; repeating it changes nothing."""
    user: User = request.user
    if change == "pause":
        await operations.pause(by=user.name)
        return done(request, "/control", "Automatic failover is paused.")
    if change == "resume":
        was = await operations.resume(by=user.name)
        return done(request, "/control", "Automatic failover is on again." if was else "It was not paused.")
    raise NotFound


HANDLERS = [
    agents, agents_live, scale_preview, scale, act_preview, act_form, failover_preview, failover_form,
]  # fmt: skip
