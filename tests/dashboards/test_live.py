"""A working cluster fills every panel: no query without data, no rule with an error."""

import math
from typing import Any

import pytest

from tests.dashboards.conftest import Prometheus
from tests.dashboards.given import BOARDS, Ask, asks
from tests.waiting import wait_until


def whole(series: dict[str, Any], ask: Ask) -> bool:
    """Whether a series has a number, and the labels its legend shows."""
    return not math.isnan(float(series["value"][1])) and ask.labels <= set(series["metric"])


@pytest.mark.parametrize("board", [path.stem for path in BOARDS])
async def test_every_query_of_a_dashboard_has_data(prometheus: Prometheus, board: str) -> None:
    wanted = [ask for ask in asks() if ask.where.startswith(f"{board}: ")]
    empty: list[Ask] = []

    async def all_have_data() -> bool:
        empty[:] = [ask for ask in wanted if not await has_data(ask)]
        return not empty

    async def has_data(ask: Ask) -> bool:
        found = await prometheus.query(ask.expr)
        return any(whole(series, ask) for series in found)

    try:
        await wait_until(all_have_data, of="data")
    except AssertionError:
        pytest.fail("\n".join(f"{ask.where}: no data for {ask.expr}" for ask in empty))


async def test_rules_are_evaluated_without_an_error(prometheus: Prometheus) -> None:
    async def evaluated() -> list[dict[str, Any]]:
        groups = (await prometheus.get("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = await wait_until(evaluated, of="the evaluation of all rules")
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert len(rules) > 20


async def test_the_failover_is_counted_and_marked_at_its_moment(prometheus: Prometheus) -> None:
    async def counted() -> list[dict[str, Any]]:
        return await prometheus.query('sum(nexus_failover_total{kind!="first"}) == 1')

    await wait_until(counted, of="one failover")
    (marked,) = await prometheus.query("time() - nexus_failover_timestamp_seconds")
    assert 0 < float(marked["value"][1]) < 300
    leaders = await prometheus.query("nexus_agent_is_primary == 1")
    assert [it["metric"]["agent"] for it in leaders] == [marked["metric"]["primary"]]


async def test_a_healthy_cluster_raises_no_alarm_about_itself(prometheus: Prometheus) -> None:
    async def quiet() -> bool:
        firing = await prometheus.query('ALERTS{alertstate="firing", severity="critical"}')
        return not firing

    await wait_until(quiet, of="an end of all critical alerts")
