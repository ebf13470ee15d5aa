"""Small fleets for tests: members that only write lines, as processes, behind a broker, as containers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest

from appliance.core.desired_fleet import agent_id
from appliance.embedded import fleet as programs
from appliance.embedded.config import Config, with_ports, write_config
from appliance.embedded.manager import Manager
from appliance.embedded.places import Home
from appliance.embedded.programs import Program
from control_plane.broker.main import Owned, listening, server_of
from control_plane.fleet import Fleet
from control_plane.fleet.containers import Containers
from control_plane.fleet.processes import Processes
from control_plane.fleet.remote import Remote
from tests.waiting import wait_until

WORDS = "no such model"
IMAGE = "nexus/debian:trixie"
_SCRIPT = f"""echo began
while true; do
  [ -e "$CRASH" ] && {{ echo {WORDS} >&2; exit 3; }}
  echo tick; sleep 0.1
done"""


class Small:
    """A fleet, and how a test makes one of its members end by itself again and again."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def make_crash(self, slot: int) -> None:
        """Let a member end with WORDS, after each start anew."""
        raise NotImplementedError


class OfProcesses(Small):
    def __init__(self, fleet: Owned | Remote, home: Home) -> None:
        super().__init__(fleet)
        self.fleet: Owned | Remote = fleet
        self.home = home

    async def make_crash(self, slot: int) -> None:
        (self.home.run / f"crash-{agent_id(slot)}").touch()


class OfContainers(Small):
    def __init__(self, fleet: Fleet, project: str, api: Any) -> None:
        super().__init__(fleet)
        self.project = project
        self.api = api

    async def make_crash(self, slot: int) -> None:
        self.api.exec_start(self.api.exec_create(f"{self.project}-agent-{slot}", ["touch", "/crash"])["Id"])


def _writer(home: Home, config: Config, name: str) -> Program:
    crash = str(home.run / f"crash-{name}")
    return Program(
        name=name, argv=("/bin/sh", "-c", _SCRIPT), cwd=home.run, env={"CRASH": crash}, check=lambda: None,
        stop_within_s=1,
    )  # fmt: skip


@asynccontextmanager
async def small_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OfProcesses]:
    """Yield a fleet with one member, agent-1, that runs."""
    monkeypatch.setattr(programs, "agent", _writer)
    home = Home.at(folder / ("home " * 20)).create()
    write_config(home, with_ports(Config(slots=(1,)), in_use_by_us=[]))
    manager = Manager(home)
    await asyncio.to_thread(manager.ensure)
    fleet = Processes(home)
    try:
        await fleet.start(1)
        yield OfProcesses(fleet, home)
    finally:
        await fleet.aclose()
        await asyncio.to_thread(manager.end_leftovers)


@asynccontextmanager
async def behind_a_broker(small: OfProcesses) -> AsyncIterator[OfProcesses]:
    """Yield the same fleet as its broker's client sees it; the socket's path is far too long for a socket."""
    path, server = small.home.run / "broker.sock", server_of(small.fleet)
    with listening(path) as listener:
        broker = asyncio.create_task(server.serve(sockets=[listener]))
        remote = Remote(str(path))
        try:
            await wait_until(remote.members, of="the broker's first answer")
            yield OfProcesses(remote, small.home)
        finally:
            await remote.aclose()
            server.should_exit = True
            await broker


@asynccontextmanager
async def small_containers() -> AsyncIterator[OfContainers]:
    """Yield a fleet of a project of its own, with one container that runs; skips where there is no Docker."""
    project, api = f"test{uuid4().hex[:8]}", docker_or_skip()
    network = api.create_network(f"{project}_app", internal=True)["Id"]
    other = api.create_network(f"{project}_data", internal=True)["Id"]
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": "agent",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.config-hash": "0123",
        "nexus.role": "agent",
    }
    first = api.create_container(
        IMAGE, ["/bin/sh", "-c", _SCRIPT], name=f"{project}-agent-1", labels=labels, environment={"CRASH": "/crash"},
        stop_signal="SIGTERM", networking_config=api.create_networking_config(
            {f"{project}_app": api.create_endpoint_config(aliases=["agent"])}
        ),
        host_config=api.create_host_config(
            init=True, restart_policy={"Name": "unless-stopped"}, mem_limit="64m", cap_drop=["ALL"], pids_limit=50,
            network_mode=f"{project}_app", binds={"/etc/hostname": {"bind": "/run/secrets/one", "mode": "ro"}},
        ),
    )["Id"]  # fmt: skip
    fleet = Containers(project)
    try:
        api.connect_container_to_network(first, other, aliases=["agent"])
        api.start(first)
        yield OfContainers(fleet, project, api)
    finally:
        await fleet.aclose()
        for found in api.containers(all=True, filters={"label": f"com.docker.compose.project={project}"}):
            api.remove_container(found["Id"], force=True, v=True)
        for it in (network, other):
            api.remove_network(it)
        api.close()


def docker_or_skip() -> Any:
    """Return Docker's API, or skip the test where none answers or nothing was built."""
    try:
        api = docker.APIClient(version="auto", timeout=30)
        api.inspect_image(IMAGE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"{IMAGE} is not there: `nexus up --runtime docker` builds it")
    except docker.errors.DockerException:
        pytest.skip("no Docker Engine answers")
    return api
