"""The fleet as JSON: the same operations as the pages. `Idempotency-Key` (a UUID) makes a request count once."""

from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, SkipValidation

from appliance.core.desired_fleet import Desired
from appliance.core.errors import BadInput
from appliance.core.orders import Order, Pause
from appliance.core.records import User
from appliance.core.scaling import Preview
from appliance.web.roles import needs
from control_plane.operations import Operations
from control_plane.progress import FleetState
from control_plane.reconcile import DRAIN_S

Changes = NamedDependency[SkipValidation[Operations]]
Asked = Request[Any, Any, Any]
Key = Annotated[str | None, HeaderParameter(name="Idempotency-Key", required=False)]
OPERATOR, ADMIN = [needs("operator")], [needs("admin")]


class Number(msgspec.Struct, frozen=True):
    """How many agents there should be."""

    number: int | float | str


class Done(msgspec.Struct, frozen=True):
    """What became of it, a sentence without its full stop."""

    outcome: str


class Successor(msgspec.Struct, frozen=True):
    """Who is to be primary; '' leaves the choice to the cluster."""

    successor: str = ""


def key_of(header: str | None) -> UUID:
    """Return the request's key, a new one when it has none.

    Raises:
        BadInput: it is not a UUID.
    """
    try:
        return UUID(header) if header else uuid4()
    except ValueError:
        raise BadInput("Idempotency-Key has to be a UUID, such as uuidgen prints.") from None


def by(request: Asked) -> str:
    """Return the name of who asks."""
    user: User = request.user
    return user.name


@get("/control/api/v1/fleet", operation_id="get_fleet")
async def fleet_state(operations: Changes) -> FleetState:
    """What is wished, what is there, what happens next, how far each agent is."""
    return await operations.state()


@get("/control/api/v1/fleet/preview", operation_id="preview_fleet")
async def fleet_preview(operations: Changes, number: FromQuery[str]) -> Preview:
    """What setting the number would do now; nothing is changed."""
    return await operations.preview(number)


@post("/control/api/v1/fleet", operation_id="scale_fleet", status_code=202, guards=OPERATOR)
async def scale(request: Asked, operations: Changes, data: JSONBody[Number], key: Key = None) -> Desired:
    """Set the number of agents; returns at once, `get_fleet` shows the progress."""
    return await operations.scale(data.number, by=by(request), key=key_of(key))


@post("/control/api/v1/switchover", operation_id="switch_over", status_code=202, guards=OPERATOR)
async def switchover(request: Asked, operations: Changes, data: JSONBody[Successor], key: Key = None) -> Order:
    """Hand the primary's seat over."""
    return await operations.switchover(data.successor, by=by(request), key=key_of(key))


@post("/control/api/v1/failover/{change:str}", operation_id="automatic_failover", status_code=200, guards=OPERATOR)
async def automatic_failover(
    request: Asked, operations: Changes, change: FromPath[Literal["pause", "resume"]]
) -> Pause | dict[str, bool]:
    """Pause or resume the replacement of dead primaries."""
    if change == "pause":
        return await operations.pause(by=by(request))
    return {"changed": await operations.resume(by=by(request))}


@post("/control/api/v1/agents/{agent:str}/drain", operation_id="drain_agent", status_code=202, guards=OPERATOR)
async def drain(
    request: Asked,
    operations: Changes,
    agent: FromPath[str],
    deadline_s: FromQuery[str] = str(DRAIN_S),
    key: Key = None,
) -> Order:
    """Take an agent out of service."""
    return await operations.drain(agent, deadline_s, by=by(request), key=key_of(key))


@post("/control/api/v1/agents/{agent:str}/stop", operation_id="stop_agent", status_code=200, guards=OPERATOR)
async def stop(request: Asked, operations: Changes, agent: FromPath[str], key: Key = None) -> Done:
    """Stop an agent now; it rests until a restart."""
    return Done(await operations.stop(agent, by=by(request), key=key_of(key)))


@post("/control/api/v1/agents/{agent:str}/restart", operation_id="restart_agent", status_code=200, guards=OPERATOR)
async def restart(request: Asked, operations: Changes, agent: FromPath[str], key: Key = None) -> Done:
    """Stop an agent gently and start it again."""
    return Done(await operations.restart(agent, by=by(request), key=key_of(key)))


@post("/control/api/v1/agents/{agent:str}/kill", operation_id="kill_agent", status_code=200, guards=ADMIN)
async def kill(request: Asked, operations: Changes, agent: FromPath[str], key: Key = None) -> Done:
    """Game day: end an agent as a fault would."""
    return Done(await operations.kill(agent, by=by(request), key=key_of(key)))


@post("/control/api/v1/agents/{agent:str}/freeze", operation_id="freeze_agent", status_code=200, guards=ADMIN)
async def freeze(
    request: Asked, operations: Changes, agent: FromPath[str], seconds: FromQuery[str] = "", key: Key = None
) -> Done:
    """Game day: let nothing of an agent run for a while."""
    return Done(await operations.freeze(agent, seconds, by=by(request), key=key_of(key)))


API = [
    fleet_state, fleet_preview, scale, switchover, automatic_failover, drain, stop, restart, kill, freeze,
]  # fmt: skip
