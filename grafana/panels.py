"""The few words dashboards are written in: numbers, graphs, bars. Their look is decided here, once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24
NUMBER_HEIGHT, GRAPH_HEIGHT = 4, 8
NUMBERS_IN_A_ROW, GRAPHS_IN_A_ROW = 5, 3
SCHEMA_VERSION = 39
"""Of Grafana 11 and 12."""
Json = dict[str, Any]
RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """One panel: what it asks by legend, and how it shows it."""

    kind: str
    title: str
    asks: Mapping[str, str]
    unit: str = "short"
    help: str = ""
    options: Json = {}  # noqa: RUF012 - read only
    custom: Json = {}  # noqa: RUF012 - read only
    bad_above: float | None = None
    bad_below: float | None = None


def number(title: str, ask: str, unit: str = "short", help: str = "", **more: Any) -> Panel:
    """One number of the top row: its newest value."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
        "percentChangeColorMode": "standard", "showPercentChange": False, "wideLayout": True,
    }  # fmt: skip
    return Panel("stat", title, {"": ask}, unit, help, options, **more)


def name_of(title: str, ask: str, label: str, help: str = "") -> Panel:
    """A name instead of a number: the label of the one series that is there."""
    panel = number(title, ask, help=help)
    options = panel.options | {"textMode": "name", "graphMode": "none"}
    return panel._replace(asks={f"{{{{{label}}}}}": ask}, options=options)


def graph(
    title: str, asks: Mapping[str, str] | str, unit: str = "short", help: str = "", *, stacked: bool = False
) -> Panel:
    """Lines over time, by legend."""
    asks = {"": asks} if isinstance(asks, str) else asks
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    mode = {"mode": "normal", "group": "A"} if stacked else {"mode": "none", "group": "A"}
    custom = {"lineWidth": 1, "fillOpacity": 30 if stacked else 10, "showPoints": "never", "stacking": mode}
    return Panel("timeseries", title, asks, unit, help, options, custom)


def bars(title: str, ask: str, label: str, unit: str = "short", help: str = "") -> Panel:
    """Newest values side by side."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "valueMode": "color",
        "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300, "namePlacement": "auto", "sizing": "auto",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
    }  # fmt: skip
    return Panel("bargauge", title, {f"{{{{{label}}}}}": ask}, unit, help, options)


def rate(metric: str, by: str = "") -> str:
    """Return the sum of a counter's rates, by labels if some are named."""
    return f"sum{by and f' by ({by}) '}(rate({metric}{RATE}))"


def quantiles(metric: str, by: str = "") -> dict[str, str]:
    """Ask for p50, p95 and p99 of a histogram."""
    rate = f"sum by (le{by and ', '}{by}) (rate({metric}_bucket{RATE}))"
    name = f" {{{{{by}}}}}" if by else ""
    return {f"p{round(q * 100)}{name}": f"histogram_quantile({q}, {rate})" for q in (0.5, 0.95, 0.99)}


def dashboard(uid: str, title: str, about: str, numbers: Sequence[Panel], graphs: Sequence[Panel]) -> Json:
    """Lay numbers and graphs out and return what Grafana is provisioned with."""
    places = [*_places(len(numbers), NUMBERS_IN_A_ROW, NUMBER_HEIGHT, top=0)]
    rows = -(-len(numbers) // NUMBERS_IN_A_ROW)
    places += _places(len(graphs), GRAPHS_IN_A_ROW, GRAPH_HEIGHT, top=rows * NUMBER_HEIGHT)
    panels = [
        _panel(number, panel, place)
        for number, (panel, place) in enumerate(zip([*numbers, *graphs], places, strict=True), start=1)
    ]
    return {
        "uid": f"nexus-{uid}", "title": f"Nexus: {title}", "description": about, "tags": ["nexus"], "editable": False,
        "schemaVersion": SCHEMA_VERSION, "graphTooltip": 1, "refresh": "5s", "timezone": "browser", "version": 1,
        "fiscalYearStartMonth": 0, "time": {"from": "now-1h", "to": "now"}, "timepicker": {},
        "templating": {"list": []},
        "annotations": {"list": [_failovers()]}, "links": [_others()], "panels": panels,
    }  # fmt: skip


def _places(count: int, in_a_row: int, height: int, top: int) -> list[Json]:
    """Fill rows from the left; the last panel of a row takes what is left of its width."""
    width = WIDTH // in_a_row
    places = []
    for index in range(count):
        row, column = divmod(index, in_a_row)
        last = column == in_a_row - 1 or index == count - 1
        x = column * width
        places.append({"x": x, "y": top + row * height, "w": WIDTH - x if last else width, "h": height})
    return places


def _panel(number: int, panel: Panel, place: Json) -> Json:
    targets = [
        {"refId": chr(65 + index), "datasource": SOURCE, "editorMode": "code", "expr": ask,
         "legendFormat": legend or "__auto", "range": True, "instant": False}
        for index, (legend, ask) in enumerate(panel.asks.items())
    ]  # fmt: skip
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.help, "gridPos": place,
        "datasource": SOURCE, "targets": targets, "options": panel.options,
        "fieldConfig": {
            "defaults": _look(panel) | {"unit": panel.unit, "custom": panel.custom, "thresholds": _thresholds(panel)},
            "overrides": [],
        },
    }  # fmt: skip


def _thresholds(panel: Panel) -> Json:
    """Green, red above or below a border; the first step of all is the one without a border."""
    steps: list[Json] = [{"color": "red" if panel.bad_below is not None else "green", "value": None}]
    if panel.bad_below is not None:
        steps.append({"color": "green", "value": panel.bad_below})
    if panel.bad_above is not None:
        steps.append({"color": "red", "value": panel.bad_above})
    return {"mode": "absolute", "steps": steps}


def _look(panel: Panel) -> Json:
    mode = "palette-classic" if panel.kind == "timeseries" else "thresholds"
    return {"color": {"mode": mode}} | ({"min": 0} if panel.kind == "timeseries" else {})


def _failovers() -> Json:
    """A line on every graph at the moment of each election, by its own clock, not by that of a scrape."""
    return {
        "name": "Failovers", "enable": True, "iconColor": "red", "datasource": SOURCE,
        "expr": "nexus_failover_timestamp_seconds * 1000", "useValueForTime": True, "step": "5s",
        "titleFormat": "{{primary}} is primary", "textFormat": "{{kind}}",
    }  # fmt: skip


def _others() -> Json:
    return {
        "title": "Nexus", "type": "dashboards", "tags": ["nexus"], "asDropdown": False, "includeVars": False,
        "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
    }  # fmt: skip
