"""The files as Grafana and Prometheus read them, and what they ask."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry

from appliance.core import metrics

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RULES = ROOT / "compose" / "prometheus"
NAME = re.compile(r"\bnexus_[a-z0-9_]+")
RATE_INTERVAL = "20s"
"""What Grafana makes of `$__rate_interval` at a scrape of five seconds."""


class Ask(NamedTuple):
    """One query, and which labels its legend shows."""

    where: str
    expr: str
    labels: frozenset[str]


def asks() -> Iterator[Ask]:
    """Yield every query and every annotation of every dashboard."""
    for path in BOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield _ask(f"{path.stem}: {panel['title']}", target["expr"], target["legendFormat"])
        for annotation in board["annotations"]["list"]:
            shown = annotation["titleFormat"] + annotation["textFormat"]
            yield _ask(f"{path.stem}: {annotation['name']}", annotation["expr"], shown)


def _ask(where: str, expr: str, legend: str) -> Ask:
    labels = frozenset(re.findall(r"\{\{(\w+)\}\}", legend))
    return Ask(where, expr.replace("$__rate_interval", RATE_INTERVAL), labels)


def registered() -> dict[str, set[str]]:
    """Return each metric's name with those under which its samples stand."""
    found = {reading.name: {reading.name} for reading in metrics.READINGS}
    for registry in (REGISTRY, metrics.AGENT, metrics.GATEWAY):
        for name, samples in _families(registry):
            if name.startswith("nexus_"):
                found[name] = samples
    return found


def _families(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
    described: Any = registry._collector_to_names  # the only place that knows families without samples
    for collector in described:
        for family in collector.describe() if hasattr(collector, "describe") else ():
            yield family.name, {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
