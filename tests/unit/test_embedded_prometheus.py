"""Prometheus in the runtime without Docker: the containers' configuration with other addresses."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.embedded import prometheus
from appliance.embedded.config import Config, with_ports
from appliance.embedded.places import Home

PORTS = {"control-plane": 18081, "gateway-metrics": 18082, "prometheus": 18090}


def test_a_home_gets_its_own_addresses_and_the_customers_rules(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "a home, with 'quotes'").create()
    prometheus.configure(home, Config(ports=PORTS))
    text = (home.run / "prometheus.yml").read_text()
    assert "http://127.0.0.1:18081/sd" in text
    for name in ("control-plane:8081", "gateway:8082", "localhost:9090"):
        assert name not in text
    for rule in prometheus.RULES:
        assert str(prometheus.SOURCES / rule) in text


def test_a_name_that_is_not_there_any_more_is_noticed() -> None:
    with pytest.raises(ValueError, match="does not name"):
        prometheus.configuration({"agents:9999": "127.0.0.1:1"}, {})


def test_without_the_program_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prometheus.prometheus(Home.at(tmp_path), Config(ports=PORTS)) == []


def test_promtool_accepts_it(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: apt install prometheus")
    home = Home.at(tmp_path).create()
    prometheus.configure(home, Config(ports=PORTS))
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=home.run, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_the_gateways_numbers_keep_their_port_while_it_runs() -> None:
    config = with_ports(Config(), in_use_by_us=[])
    moved = replace(config, ports=dict(config.ports) | {"gateway-metrics": 1})  # a port nobody else can have
    assert with_ports(moved, in_use_by_us=["gateway"]).ports["gateway-metrics"] == 1
