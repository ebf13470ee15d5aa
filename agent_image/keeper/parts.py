"""What the loops of one keeper share: built once, never replaced."""

from collections.abc import Callable
from dataclasses import dataclass

from agent_image.keeper.liveness import Liveness
from agent_image.keeper.seat import Seat
from agent_image.keeper.tilt import Tilt
from agent_image.shared_page import SharedPage
from appliance.core.election import Election
from appliance.core.postgres import Postgres
from appliance.core.records import Agent
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.task_ledger import TaskLedger


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Stores, the seat, and `describe`: this agent as its next beat will show it."""

    describe: Callable[[], Agent]
    redis: Redis
    postgres: Postgres
    registry: Registry
    ledger: TaskLedger
    election: Election
    liveness: Liveness
    page: SharedPage
    seat: Seat
    tilt: Tilt
