"""`nexus status`: one screen, or JSON with a documented schema."""

import asyncio
import json
import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table

from appliance.cli.common import HOME, HomeOption, Place, make, out
from appliance.cli.pause import words_of
from appliance.cli.progress import Patience
from appliance.core.errors import StoreAway
from appliance.core.orders import AutomaticFailover, Pause
from appliance.core.records import Agent, ClusterView
from appliance.core.records import Status as AgentState
from appliance.core.registry import Registry
from appliance.core.version import VERSION
from appliance.embedded import prometheus
from appliance.embedded.lifecycle import Service

_WATCH_S = 1.0
_LEDGER_S = 1.0
_WAY_OUT = {"stopped": ": `make up` starts it"}
UNSUPERVISED = "The process manager is dead; what runs goes on. `make up` takes over, `make down` ends it."


class AgentStatus(msgspec.Struct, frozen=True):
    """One agent: what it says of itself, and how long ago."""

    id: str
    role: str
    """primary, secondary or standby."""
    status: str
    """starting, active, draining or failed; `load` says how many turns a draining one has left."""
    sdown: int
    """How many agents suspect it."""
    boot: str
    keeper_pid: int
    runner_pid: int
    port: int
    heartbeat_age_s: float
    load: int
    max_load: int
    models: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    """What it can beside what every agent can."""


class ServiceStatus(msgspec.Struct, frozen=True):
    """One program: running, stopped, starting, backoff, fatal, frozen, or unsupervised (it runs without a manager)."""

    name: str
    state: str
    pid: int
    version: str


class Status(msgspec.Struct, frozen=True):
    """What `nexus status --json` prints. `healthy` is the exit code; `problems` says why not, in sentences.

    `notes` are sentences about what somebody did on purpose.
    """

    runtime: str
    url: str
    version: str
    primary: str | None
    epoch: int
    agents: tuple[AgentStatus, ...]
    services: tuple[ServiceStatus, ...]
    healthy: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs; --schema describes it.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of --json.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second, until Ctrl-C.")] = False,
    home: HomeOption = HOME,
) -> None:
    """What runs, who is primary; exit code 1 when something is wrong."""
    if schema:
        return out.print_json(json.dumps(msgspec.json.schema(Status)))
    place = Place(home)
    while watch:
        _present(asyncio.run(read(place)), as_json=as_json, again=True)
        time.sleep(_WATCH_S)
    with Patience("looking"):
        found = asyncio.run(read(place))
    _present(found, as_json=as_json)
    if not found.healthy:
        raise typer.Exit(1)
    return None


def _present(found: Status, *, as_json: bool, again: bool = False) -> None:
    if as_json:
        text = msgspec.json.encode(found)
        # One object a line while it repeats, so that a program can read it as it comes.
        return out.print(text.decode(), markup=False) if again else out.print_json(text.decode())
    if again and sys.stdout.isatty():
        out.clear()
    return show(found)


async def read(place: Place) -> Status:
    """Read what is known without asking anything that could hang."""
    found = await asyncio.to_thread(place.runtime.services, place.home)
    view, away = await _view(place)
    problems = problems_of(found, view, place.agents)
    problems += away if any(it.pid for it in found) else []
    paused = await _paused(place, found)
    return Status(
        runtime=place.config.runtime,
        url=place.config.url,
        version=VERSION,
        primary=view.primary_id if view else None,
        epoch=view.epoch if view else 0,
        agents=tuple(_agent(agent, view) for agent in view.agents) if view else (),
        services=tuple(
            ServiceStatus(it.name, it.state, it.pid, place.runtime.version_of(place.home, it.name)) for it in found
        ),
        healthy=not problems,
        problems=tuple(problems),
        notes=_notes(place, paused, found),
    )


async def _view(place: Place) -> tuple[ClusterView | None, list[str]]:
    async with place.redis() as redis:
        try:
            return await Registry(redis).view(), []
        except StoreAway as error:
            return None, [f"{error.detail}: the agents cannot be listed."]


async def _paused(place: Place, found: list[Service]) -> Pause | None:
    """Return the pause of automatic failover; None also when PostgreSQL cannot say."""
    if not any(it.name == "postgres" and it.pid and it.state != "frozen" for it in found):
        return None
    try:
        async with asyncio.timeout(_LEDGER_S), place.postgres() as postgres:
            return await AutomaticFailover(postgres).paused()
    except Exception:  # nothing may keep the agents from being shown, be it a database that is not up to date yet
        return None


def _notes(place: Place, paused: Pause | None, found: list[Service]) -> tuple[str, ...]:
    notes = [f"{words_of(paused)}: `{make('resume', place.home)}` ends that."] if paused else []
    runs = {it.name for it in found if it.pid}
    return (*notes, *([prometheus.HOW_TO_GET_IT] if runs and prometheus.NAME not in runs else []))


def _agent(agent: Agent, view: ClusterView) -> AgentStatus:
    return AgentStatus(
        id=agent.id,
        role="primary" if view.primary_id == agent.id else str(agent.role),
        status=str(agent.status) if agent.boot_alive else "failed",
        sdown=agent.sdown,
        boot=agent.boot,
        keeper_pid=agent.keeper_pid,
        runner_pid=agent.runner_pid,
        port=agent.port,
        heartbeat_age_s=round(agent.beat_age_s, 2),
        load=agent.current_load,
        max_load=agent.max_load,
        models=agent.models,
        capabilities=agent.capabilities,
    )


def problems_of(found: list[Service], view: ClusterView | None, wanted: tuple[str, ...]) -> list[str]:
    """Say in sentences what is not as it should be. Pure."""
    if not any(service.pid for service in found):
        return ["Nothing runs: `make up` starts it."]
    frozen = [it for it in found if it.state == "frozen"]
    problems = [f"{it.name} is frozen: `{it.thaw}` lets it go on." for it in frozen]
    problems += [UNSUPERVISED] if found[0].state not in ("running", "frozen") else []
    fine = ("running", "unsupervised", "frozen")
    problems += [f"{it.name} is {it.state}{_WAY_OUT.get(it.state, '')}." for it in found[1:] if it.state not in fine]
    if view:
        stopped = {it.name for it in found if it.state == "stopped"}
        fine_states = (AgentState.ACTIVE, AgentState.DRAINING)
        working = {it.id for it in view.agents if it.boot_alive and it.status in fine_states}
        problems += [f"{agent} is not active." for agent in wanted if agent not in working | stopped]
        problems += ["There is no primary."] if view.primary_id is None else []
    return problems


def state_words(agent: AgentStatus) -> str:
    """Return an agent's state as one reads it: `draining, 3 left`, `drained`, `active, suspected by 1`. Pure."""
    drains = agent.status == "draining"
    words = ["drained" if drains and not agent.load else agent.status]
    words += [f"{agent.load} left"] if drains and agent.load else []
    words += [f"suspected by {agent.sdown}"] if agent.sdown and agent.status != "failed" else []
    return ", ".join(words)


def show(found: Status) -> None:
    """Print one screen."""
    out.print(
        f"[bold]Nexus {found.version}[/] · {found.runtime} · {found.url} · "
        f"primary {found.primary or 'none'} · epoch {found.epoch}"
    )
    state, models = Column("status", no_wrap=True), Column("models", overflow="fold")
    agents = Table(
        "agent", "role", state, "load", "last beat", "keeper", "runner", "port", models, box=None, pad_edge=False
    )
    for it in found.agents:
        row = (it.id, it.role, state_words(it), f"{it.load}/{it.max_load}", f"{it.heartbeat_age_s:.1f} s")
        can = f" · can {', '.join(it.capabilities)}" if it.capabilities else ""
        agents.add_row(*row, str(it.keeper_pid), str(it.runner_pid), str(it.port), f"{', '.join(it.models)}{can}")
    programs = Table("service", "state", "pid", "version", box=None, pad_edge=False)
    for service in found.services:
        programs.add_row(service.name, service.state, str(service.pid or "-"), service.version)
    for table in (agents, programs):
        out.print()
        out.print(table)
    for problem in found.problems:
        out.print(f"✗ {problem}", style="red", markup=False)
    for note in found.notes:
        out.print(f"! {note}", style="yellow", markup=False)
