"""The runtime without Docker: what it decides before it touches anything."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.core.errors import CannotStart
from appliance.embedded import fleet
from appliance.embedded.bootstrap.machine import Machine
from appliance.embedded.bootstrap.models import Models
from appliance.embedded.bootstrap.models import findings as model_findings
from appliance.embedded.bootstrap.verdict import Mark, Needs, findings, unsupported
from appliance.embedded.config import Config, addresses, keep_secret_settings, with_ports, with_settings
from appliance.embedded.launch import identity_of
from appliance.embedded.places import Home
from appliance.embedded.secrets import generate_missing, read_secret, write_private

FINE = Machine(name="Debian 12", memory_gb=8, disk_gb=70)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (replace(FINE, cpu="aarch64"), "Linux on x86-64; this is Linux on aarch64"),
        (replace(FINE, system="Darwin"), "this is Darwin"),
        (replace(FINE, glibc=None), "another C library"),
        (replace(FINE, glibc=(2, 28)), "glibc 2.28"),
        (replace(FINE, python=(3, 14)), "this is cpython 3.14"),
        (replace(FINE, implementation="pypy"), "this is pypy 3.11"),
    ],
)
def test_a_machine_that_cannot_is_told_so_in_one_sentence(machine: Machine, said: str) -> None:
    sentence = unsupported(machine)
    assert sentence is not None
    assert said in sentence
    [line] = findings(machine, Needs())
    assert line.mark is Mark.BLOCKED


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (
            replace(FINE, missing_packages=("python3.11-venv", "libgomp1")),
            "sudo apt-get install -y python3.11-venv libgomp1",
        ),
        (replace(FINE, missing_packages=("util-linux",), is_root=True), ": apt-get install -y util-linux"),
        (replace(FINE, user_namespaces=False), "run as an ordinary user"),
        (replace(FINE, disk_gb=0.4), "GB of disk are needed"),
    ],
)
def test_what_is_missing_is_said_with_what_mends_it(machine: Machine, said: str) -> None:
    blocked = [line.text for line in findings(machine, Needs(245, 614)) if line.mark is Mark.BLOCKED]
    assert len(blocked) == 1
    assert said in blocked[0]


def test_a_fine_machine_is_not_blocked_and_docker_that_may_not_be_used_is_said_with_the_fix() -> None:
    lines = findings(replace(FINE, docker="forbidden"), Needs())
    assert Mark.BLOCKED not in {line.mark for line in lines}
    assert "usermod -aG docker" in lines[-1].text


def test_an_ollama_is_named_and_claude_is_used_only_after_a_yes() -> None:
    lines = model_findings(Models(ollama_url="http://127.0.0.1:11434", ollama_models=("llama3",), claude_key=True))
    assert "llama3" in lines[0].text
    assert "only after a yes" in lines[1].text


def test_ports_are_chosen_once_and_kept() -> None:
    first = with_ports(Config(), in_use_by_us=[])
    assert with_ports(first, in_use_by_us=[]) == first
    assert len(set(first.ports.values())) == len(first.ports)
    assert {"gateway", "control-plane", "postgres", "redis", "model", "embedder", "agent-3", "agent-3-liveness"} <= set(
        first.ports
    )


def test_a_taken_preferred_port_is_passed_over_the_first_time_and_insisted_on_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        moved = with_ports(Config(ports={"redis": taken}), in_use_by_us=[])
        assert moved.ports["redis"] != taken
        with pytest.raises(CannotStart, match=f"port {taken}, where this appliance's address is, is taken by"):
            with_ports(Config(ports={"gateway": taken}), in_use_by_us=[])
        assert with_ports(Config(ports={"gateway": taken}), in_use_by_us=["gateway"]).ports["gateway"] == taken


def test_settings_said_once_are_remembered_and_forgotten_when_emptied() -> None:
    said = with_settings(Config(), {"CLUSTER_MAX_LOAD": "50", "HOME": "/x", "REDIS_PASSWORD": "no"})
    assert said.settings == {"cluster_max_load": "50"}
    assert with_settings(said, {}).settings == {"cluster_max_load": "50"}
    assert with_settings(said, {"CLUSTER_MAX_LOAD": ""}).settings == {}


def test_a_model_server_of_the_users_own_takes_the_place_of_the_bundled_one() -> None:
    config = with_ports(Config(), in_use_by_us=[])
    assert addresses(config)["model_name"].startswith("bundled/")
    own = with_settings(config, {"MODEL_URL": "http://127.0.0.1:9/v1"})
    assert addresses(own)["model_url"] == "http://127.0.0.1:9/v1"
    assert "model_name" not in addresses(own)


def test_an_embedder_of_the_users_own_takes_the_place_of_the_bundled_one(tmp_path: Path) -> None:
    config = with_ports(Config(), in_use_by_us=[])
    assert addresses(config)["embedding_url"] == f"http://127.0.0.1:{config.ports['embedder']}/v1"
    home = Home.at(tmp_path)
    assert [it.name for it in fleet.embedders(home, config)] == ["embedder"]
    own = with_settings(config, {"EMBEDDING_URL": "http://127.0.0.1:9/v1", "EMBEDDING_MODEL": "bge-m3"})
    assert addresses(own)["embedding_url"] == "http://127.0.0.1:9/v1"
    assert addresses(own)["embedding_model"] == "bge-m3"
    assert fleet.embedders(home, own) == []
    keep_secret_settings(home.create(), {"EMBEDDING_API_KEY": "sesame"}, claude_allowed=False)
    assert read_secret(home.secrets, "embedding_api_key") == "sesame"
    assert "embedding_api_key" not in with_settings(config, {"EMBEDDING_API_KEY": "sesame"}).settings


def test_a_claude_key_is_kept_only_after_a_yes(tmp_path: Path) -> None:
    home = Home.at(tmp_path).create()
    keep_secret_settings(home, {"ANTHROPIC_API_KEY": "sk"}, claude_allowed=False)
    assert not (home.secrets / "anthropic_api_key").exists()
    keep_secret_settings(home, {"ANTHROPIC_API_KEY": "sk"}, claude_allowed=True)
    assert read_secret(home.secrets, "anthropic_api_key") == "sk"
    keep_secret_settings(home, {"ANTHROPIC_API_KEY": ""}, claude_allowed=False)
    assert not (home.secrets / "anthropic_api_key").exists()


def test_secrets_are_made_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    home = Home.at(tmp_path).create()
    generate_missing(home.secrets)
    first = {file.name: file.read_text() for file in home.secrets.iterdir()}
    generate_missing(home.secrets)
    assert {file.name: file.read_text() for file in home.secrets.iterdir()} == first
    assert {file.stat().st_mode & 0o777 for file in home.secrets.iterdir()} == {0o600}
    assert home.secrets.stat().st_mode & 0o777 == 0o700
    assert len(set(first.values())) == len(first)


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    write_private(tmp_path / "f", "old")
    write_private(tmp_path / "f", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("f", "new")]


def test_a_process_is_known_by_more_than_its_number() -> None:
    import os

    mine = identity_of(os.getpid())
    assert mine is not None
    assert mine == identity_of(os.getpid())
    assert identity_of(os.getppid()) != mine
    assert identity_of(2**22) is None
