"""What this agent says of itself to Prometheus: looked up when it is asked, so nothing has to be kept up to date."""

from collections.abc import Callable

from agent_image.shared_page import SharedPage
from appliance.core import metrics
from appliance.core.clock import monotonic


def show(page: SharedPage, load: Callable[[], int], max_load: int) -> None:
    """Bind the agent's gauges to the page it shares with its keeper and to its load."""
    metrics.AGENT_LOAD.set_function(load)
    metrics.AGENT_MAX_LOAD.set(max_load)
    metrics.AGENT_IS_PRIMARY.set_function(lambda: page.may_act_as_primary(monotonic()))
    metrics.AGENT_EPOCH.set_function(lambda: page.epoch)
    metrics.TASKS_BRAKED.set_function(lambda: page.brakes(monotonic()))
    metrics.AGENT_LOOP_LAG.set_function(lambda: page.loop_lag_ms / 1000)


async def measure() -> bytes:
    """Return Prometheus' text of this agent."""
    return metrics.exposition(metrics.AGENT)
