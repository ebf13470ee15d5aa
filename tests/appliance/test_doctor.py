"""The doctor names the culprit and the way out."""

import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.cli.checks import disk
from appliance.cli.common import Place
from appliance.cli.patient import Patient
from appliance.core.errors import StoreUnfit
from appliance.core.redis import Redis
from appliance.core.settings import load
from appliance.embedded.places import redis_server
from appliance.embedded.programs import Program, accepts, start, stop, wait_ready
from tests.appliance.commands import Appliance
from tests.ports import free_port


@asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_healthy_appliance_has_no_culprit(appliance: Appliance) -> None:
    found = await appliance.doctor(code=0)
    assert {finding["mark"] for finding in found.values()} == {"good"}
    assert "JSON and search" in found["redis"]["said"]
    assert re.fullmatch(r"multilingual-e5-small at http://127.0.0.1:\d+/v1, 384 dimensions", found["embedder"]["said"])


@pytest.mark.parametrize("service", ["redis", "postgres", "model", "embedder", "agent-2", "control-plane"])
async def test_a_frozen_program_is_named_with_its_pid(appliance: Appliance, service: str) -> None:
    pid = await appliance.pid(service)
    async with frozen(pid):
        found = (await appliance.doctor())[service]
    assert (found["mark"], found["advice"]) == ("bad", f"kill -CONT {pid}")
    assert "frozen" in found["said"]


async def test_a_frozen_runner_is_told_from_its_keeper(appliance: Appliance) -> None:
    # A secondary's: its keeper waits ten seconds before it kills it, a primary's only three.
    agent = next(agent for agent in (await appliance.status())["agents"] if agent["role"] == "secondary")
    async with frozen(agent["runner_pid"]):
        found = (await appliance.doctor())[agent["id"]]
    assert f"the runner of {agent['id']} is frozen" in found["said"]


async def test_stopped_programs_are_named_and_a_taken_port_names_its_holder(appliance: Appliance) -> None:
    port = int((await appliance.status())["url"].rpartition(":")[2])
    await appliance.nexus("down")
    try:
        with socket.create_server(("127.0.0.1", port)):
            found = await appliance.doctor()
            assert f"port {port} is taken by" in found["gateway"]["said"]
            assert str(os.getpid()) in found["gateway"]["said"]
            refused = await appliance.nexus("up", code=1)
            assert f"port {port}" in refused
            assert "--port" in refused
        for service in ("redis", "postgres", "model", "embedder", "agent-1"):
            assert found[service]["said"].startswith(f"{service} does not run")
            assert found[service]["advice"].startswith("make up")
    finally:
        await appliance.nexus("up")


async def test_a_redis_without_json_and_search_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    port = free_port()
    bare = Program(
        name="bare redis",
        argv=(str(redis_server()), "--port", str(port), "--save", "", "--dir", str(tmp_path)),
        cwd=tmp_path,
        check=accepts(port),
    )
    process = start(bare)
    client = Redis(load(redis_url=f"redis://127.0.0.1:{port}"))
    try:
        wait_ready(bare, 10, process)
        with pytest.raises(StoreUnfit, match=r"Redis 8\S* was found without JSON and search; .* is needed"):
            await client.check()
    finally:
        await client.aclose()
        stop(bare, process)


@pytest.mark.parametrize(
    ("free_gb", "mark", "word"), [(0.1, "bad", "full"), (1.0, "note", "low"), (50, "good", "free")]
)
async def test_a_full_disk_is_said(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch, free_gb: float, mark: str, word: str
) -> None:
    usage = type("Usage", (), {"free": int(free_gb * 1e9)})
    monkeypatch.setattr("appliance.cli.checks.shutil.disk_usage", lambda _: usage)
    [found] = await disk(Patient.of(Place(appliance.home)))
    assert found.mark == mark
    assert word in found.said


async def test_secrets_that_others_may_read_are_said(appliance: Appliance) -> None:
    secret = appliance.home / "secrets" / "redis_runner_password"
    secret.chmod(0o644)
    try:
        found = (await appliance.doctor())["secrets"]
    finally:
        secret.chmod(0o600)
    assert "redis_runner_password" in found["said"]
    assert found["advice"].startswith("chmod")


async def test_before_the_first_up_the_doctor_says_what_to_do(tmp_path: Path) -> None:
    assert "run `make up` first" in await Appliance(tmp_path / "nothing").nexus("doctor", code=1)
