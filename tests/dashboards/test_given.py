"""Dashboards and rules by themselves: Grafana's schema, promtool, and names that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from grafana.__main__ import text
from grafana.boards import BOARDS as WRITTEN
from tests.dashboards.given import BOARDS, NAME, ROOT, RULES, asks, registered

SCHEMA = fastjsonschema.compile(json.loads((Path(__file__).parent / "grafana.schema.json").read_text()))
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt install prometheus")
ALERT = re.compile(r"^ +- alert: (\w+)", re.MULTILINE)


def rule_expressions() -> list[str]:
    files = ("alerts.yml", "recording.yml")
    return re.findall(r"^ +expr: (.+)$", "".join((RULES / file).read_text() for file in files), re.MULTILINE)


def recorded() -> set[str]:
    return set(re.findall(r"record: (\w+)", (RULES / "recording.yml").read_text()))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_fits_grafanas_schema(path: Path) -> None:
    SCHEMA(json.loads(path.read_text()))


@pytest.mark.parametrize("spoil", ["an unknown word", "a missing option", "a wrong choice"])
def test_grafanas_schema_refuses_what_is_wrong(spoil: str) -> None:
    board: Any = json.loads(BOARDS[0].read_text())
    match spoil:
        case "an unknown word":
            board["panels"][0]["colour"] = "red"
        case "a missing option":
            del board["panels"][0]["options"]["graphMode"]
        case _:
            board["panels"][-1]["options"]["legend"]["placement"] = "left"
    with pytest.raises(fastjsonschema.JsonSchemaException):
        SCHEMA(board)


def test_the_files_are_what_the_generator_writes() -> None:
    assert {path.stem: path.read_text() for path in BOARDS} == {name: text(board) for name, board in WRITTEN.items()}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboards_panels_do_not_overlap_and_fill_their_rows(path: Path) -> None:
    board = json.loads(path.read_text())
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len(cells) == 24 * (1 + max(y for _, y in cells))


def test_every_metric_is_in_a_dashboard_or_an_alert() -> None:
    asked = set(NAME.findall(" ".join([*rule_expressions(), *(ask.expr for ask in asks())])))
    assert {name for name, samples in registered().items() if not samples & asked} == set()


def test_every_name_in_a_dashboard_or_an_alert_is_a_metric() -> None:
    known = set().union(*registered().values()) | recorded()
    named = {ask.where: set(NAME.findall(ask.expr)) for ask in asks()} | {
        it: set(NAME.findall(it)) for it in rule_expressions()
    }
    assert {where: names - known for where, names in named.items() if names - known} == {}


def test_every_alert_has_a_case_in_which_it_comes_one_in_which_not_and_a_page_in_the_runbook() -> None:
    cases = "".join(path.read_text() for path in sorted((RULES / "tests").glob("*.yml")))
    runbook = (RULES / "RUNBOOK.md").read_text()
    for alert in ALERT.findall((RULES / "alerts.yml").read_text()):
        assert f"- name: '{alert} comes: " in cases, alert
        assert f"- name: '{alert} does not come: " in cases, alert
        assert f"\n## {alert}\n" in runbook, alert
        assert f"runbook: RUNBOOK.md#{alert.lower()}\n" in (RULES / "alerts.yml").read_text(), alert


@needs_promtool
@pytest.mark.parametrize(
    "command",
    ["check config prometheus.yml", "check rules alerts.yml recording.yml", "test rules " + " ".join(
        sorted(f"tests/{path.name}" for path in (RULES / "tests").glob("*.yml")))],
    ids=["config", "rules", "cases"],
)  # fmt: skip
def test_promtool_finds_nothing_wrong(command: str) -> None:
    done = subprocess.run(["promtool", *command.split()], cwd=RULES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_provisioned_names_the_source_that_panels_ask() -> None:
    source = (ROOT / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    asked = {panel["datasource"]["uid"] for path in BOARDS for panel in json.loads(path.read_text())["panels"]}
    assert asked == {"prometheus"}
    assert "uid: prometheus\n" in source
