"""Which way a turn goes, and why."""

import msgspec
import pytest

from agent_image.runner.route import Here, Way, route
from appliance.core.task_ledger import ORCHESTRATE

WELL = Here(leads=False, sees_redis=True, takes=True, free=1)


@pytest.mark.parametrize(
    ("role", "change", "way", "why"),
    [
        ("", {}, "direct", "has room"),
        ("", {"free": 0}, "distributed", "is full"),
        ("", {"takes": False}, "distributed", "takes no turns"),
        ("", {"sees_redis": False}, "distributed", "does not reach Redis"),
        (ORCHESTRATE, {}, "orchestrate", "by the primary"),
        (ORCHESTRATE, {"free": 0}, "orchestrate", "by the primary"),
        (ORCHESTRATE, {"leads": True}, "direct", "has room"),
        (ORCHESTRATE, {"leads": True, "free": 0}, "distributed", "is full"),
    ],
)
def test_a_turn_runs_where_it_was_sent_unless_something_speaks_against_it(
    role: str, change: dict[str, bool | int], way: Way, why: str
) -> None:
    found = route(role, msgspec.structs.replace(WELL, **change))
    assert found.way == way
    assert why in found.reason
