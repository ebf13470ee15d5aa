"""The fleet's verbs over HTTP. Every value is a number in a range; no text of anybody's reaches Docker or a shell."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any

from litestar import Litestar, Request, get, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, PathParameter, QueryParameter, SkipValidation
from litestar.response import Response, Stream

from appliance.core import logs
from appliance.core.errors import NexusError, NotFound
from control_plane.fleet import MAX_FREEZE_S, MAX_LINES, Fleet, FleetAway, Member, Refusal, Stats

log = logs.get("broker")
Slot = Annotated[int, PathParameter(ge=1, le=99_999)]
Lines = Annotated[int, QueryParameter(ge=1, le=MAX_LINES)]
Seconds = Annotated[float, QueryParameter(gt=0, le=MAX_FREEZE_S)]
VERBS = ("start", "stop", "remove", "restart", "kill")
Served = NamedDependency[SkipValidation[Fleet]]


@get("/members")
async def members(fleet: Served) -> tuple[Member, ...]:
    """All members."""
    return await fleet.members()


@get("/stats")
async def stats(fleet: Served) -> tuple[Stats, ...]:
    """What they use."""
    return await fleet.stats()


@get("/members/{slot:int}/logs")
async def member_logs(fleet: Served, slot: Slot, lines: Lines = 200, follow: FromQuery[bool] = False) -> Stream:
    """The end of one's log, and what it writes."""
    written = fleet.logs(slot, lines, follow=follow)
    first = await anext(written, None)  # so that an unknown slot is an error and not half an answer
    return Stream(_lines(first, written), media_type="text/plain; charset=utf-8")


async def _lines(first: str | None, more: AsyncIterator[str]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first.encode() + b"\n"
        async for line in more:
            yield line.encode() + b"\n"


@post("/members/{slot:int}/{verb:str}", status_code=204)
async def do(fleet: Served, slot: Slot, verb: FromPath[str]) -> None:
    """Start, stop, remove (stop and forget), restart or kill one."""
    if verb not in VERBS:
        raise NotFound(f"No such verb: {verb!r}. These are known: {', '.join(VERBS)}.")
    log.info(verb, slot=slot)
    await getattr(fleet, verb)(slot)


@post("/members/{slot:int}/freeze", status_code=204)
async def freeze(fleet: Served, slot: Slot, seconds: Seconds) -> None:
    """Freeze one."""
    log.info("freeze", slot=slot, seconds=seconds)
    await fleet.freeze(slot, seconds)


def _on_nexus_error(_request: Request[Any, Any, Any], error: NexusError) -> Response[Refusal]:
    return Response(Refusal(type(error).__name__, error.detail), status_code=error.status)


def _on_http_error(_request: Request[Any, Any, Any], error: HTTPException) -> Response[Refusal]:
    return Response(Refusal("BadInput", error.detail), status_code=error.status_code)


def _on_any_error(request: Request[Any, Any, Any], error: Exception) -> Response[Refusal]:
    log.error("unexpected_error", path=request.url.path, error=repr(error), exc_info=error)
    return Response(
        Refusal(FleetAway.__name__, "The broker failed in a way nobody foresaw; its log says how."), status_code=500
    )


def application(fleet: Fleet, at_the_end: Sequence[Callable[[], Awaitable[None]]] = ()) -> Litestar:
    """Build the broker's application around a fleet."""
    return Litestar(
        route_handlers=[members, stats, member_logs, do, freeze],
        dependencies={"fleet": Provide(lambda: fleet, sync_to_thread=False)},
        exception_handlers={NexusError: _on_nexus_error, HTTPException: _on_http_error, Exception: _on_any_error},
        on_shutdown=list(at_the_end),
        openapi_config=None,
        logging_config=None,
    )
