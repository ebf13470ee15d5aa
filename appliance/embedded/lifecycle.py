"""Up, down and what runs: every step looks first, so that repeating any of them is safe."""

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from appliance.core.desired_fleet import Desired, DesiredFleet, agent_id
from appliance.core.errors import CannotStart
from appliance.core.migrations import migrate
from appliance.core.postgres import Postgres
from appliance.core.settings import Settings
from appliance.embedded import embedder, fleet, postgres, prometheus, redis
from appliance.embedded.config import (
    FIRST_AGENTS,
    GATEWAY_PORT,
    Config,
    keep_secret_settings,
    read_config,
    settings_of,
    with_ports,
    with_settings,
    write_config,
)
from appliance.embedded.manager import NAME as MANAGER
from appliance.embedded.manager import Manager
from appliance.embedded.places import Home
from appliance.embedded.processes import holder_of_port, living
from appliance.embedded.programs import Program, wait_until_ready
from appliance.embedded.secrets import generate_missing
from appliance.embedded.terminal import refuse_open_box

READY_WITHIN_S = 30.0
_PATIENCE_S = 5.0
"""So long one agent's start or end waits for another's."""
_WITHOUT = {embedder.NAME: "memories are found by words only", prometheus.NAME: "metrics are not collected"}
_SECOND_CHANCES_S = 5.0
"""So long a program may fail and be started again before `up` gives up on it."""


class Progress(Protocol):
    """Is told what happens, so that nobody waits in silence."""

    def began(self, what: str) -> None:
        """A step that may take a while begins."""

    def done(self, what: str, seconds: float) -> None:
        """It is done."""

    def say(self, words: str) -> None:
        """Something worth knowing, in a sentence."""


@dataclass(frozen=True)
class Wishes:
    """What was said on the command line; None means as before."""

    agents: int | None = None
    port: int | None = None
    claude_allowed: bool = False
    grafana: bool = False
    """Only containers have it."""


@dataclass(frozen=True)
class Service:
    """One program as `status` shows it. `unsupervised`: it runs, but the process manager is gone."""

    name: str
    state: str
    pid: int
    container: str = ""
    """As Docker knows it, where it is one."""

    @property
    def thaw(self) -> str:
        """The command that lets it go on when it is frozen."""
        return f"docker unpause {self.container}" if self.container else f"kill -CONT {self.pid}"


def up(home: Home, wishes: Wishes, progress: Progress) -> Config:
    """Bring everything up that is not up yet, in order, each checked before the next; return what was chosen.

    Raises:
        CannotStart: something does not come up; says what and why. SettingsError: a setting cannot be used.
    """
    home.create()
    with only_one(home):
        manager = Manager(home)
        config = _decide(home, wishes, manager, progress)
        _prepare(home, config, progress)
        manager.ensure()
        _bring(manager, fleet.stores(home, config), progress)
        with step(progress, "tables"):
            asyncio.run(migrate(settings_of(home, config), "pre"))
        config = _obey_desired(home, config, wishes, progress)
        _bring(manager, fleet.models(home, config), progress)
        _bring_optional(manager, embedder.NAME, fleet.embedders(home, config), progress)
        _bring(manager, fleet.agents(home, config), progress)
        _bring(manager, [fleet.broker(home)], progress)
        _bring(manager, fleet.web(home, config), progress)
        _bring_optional(manager, prometheus.NAME, prometheus.prometheus(home, config), progress)
        asyncio.run(migrate(settings_of(home, config), "post"))
    return config


def _decide(home: Home, wishes: Wishes, manager: Manager, progress: Progress) -> Config:
    """Settle and remember ports, numbers and settings. Leftovers of a killed manager are ended here."""
    if not manager.answers:
        manager.end_leftovers()
    before = read_config(home) or Config(slots=tuple(range(1, (wishes.agents or FIRST_AGENTS) + 1)))
    config = with_settings(before, os.environ)
    if wishes.port and wishes.port != config.ports.get("gateway"):
        manager.stop_if_running("gateway")
        config = replace(config, ports={**config.ports, "gateway": wishes.port})
    config = with_ports(config, in_use_by_us=[record.spec.name for record in living(home.run)])
    if "gateway" not in before.ports and config.ports["gateway"] != (wishes.port or GATEWAY_PORT):
        holder = holder_of_port(GATEWAY_PORT) or "another program"
        progress.say(f"port {GATEWAY_PORT} is taken by {holder}: this appliance is at {config.ports['gateway']}")
    generate_missing(home.secrets)
    keep_secret_settings(home, os.environ, claude_allowed=wishes.claude_allowed)
    if settings_of(home, config).cluster_terminal:
        refuse_open_box()
    write_config(home, config)
    return config


def _obey_desired(home: Home, config: Config, wishes: Wishes, progress: Progress) -> Config:
    """Let the row in PostgreSQL say which agents there are, so that a later `up` never undoes a scaling."""
    desired = asyncio.run(_desired(settings_of(home, config), first=len(config.slots)))
    if wishes.agents not in (None, desired.number):
        progress.say(f"{desired.number} agents run, as was said before; `nexus scale {wishes.agents}` changes that")
    if desired.slots == config.slots:
        return config
    config = replace(config, slots=desired.slots)
    config = with_ports(config, in_use_by_us=[record.spec.name for record in living(home.run)])
    write_config(home, config)
    return config


async def _desired(settings: Settings, first: int) -> Desired:
    postgres = Postgres(settings, application="nexus up")
    await postgres.open()
    try:
        return await DesiredFleet(postgres).up(first, by="nexus up")
    finally:
        await postgres.aclose()


def _prepare(home: Home, config: Config, progress: Progress) -> None:
    with step(progress, "database"):
        postgres.initialise(home)
    redis.configure(home, config.ports["redis"])


def _bring(manager: Manager, programs: Sequence[Program], progress: Progress) -> None:
    """Start what does not run as described, together, and wait until all of it is ready."""
    new = [program for program in programs if not manager.is_current(program)]
    began = time.monotonic()
    for program in new:
        progress.began(program.name)
        manager.stop_if_running(program.name)
        manager.put(program, fleet.order_of(program.name))
        manager.start(program.name)
    for program in programs:
        wait_until_ready(program, READY_WITHIN_S, partial(_ended, manager, program.name, began))
    for program in new:
        progress.done(program.name, time.monotonic() - began)


def _bring_optional(manager: Manager, name: str, programs: Sequence[Program], progress: Progress) -> None:
    """Start a program that the rest can do without, or forget it where it is wanted no more."""
    if not programs and (manager.home.run / f"{name}.spec.json").exists():
        manager.remove(name)
    try:
        _bring(manager, programs, progress)
    except CannotStart as error:
        progress.say(f"{_WITHOUT[name]}: {error}")


def _ended(manager: Manager, name: str, began: float) -> str | None:
    state = manager.states()[name]
    failed = state.state in ("fatal", "exited", "stopped")
    if failed or (state.state == "backoff" and time.monotonic() - began > _SECOND_CHANCES_S):
        return f"{state.detail}; the end of its log:\n{log_tail(manager.home, name)}"
    return None


def start_agent(home: Home, slot: int) -> None:
    """Begin to start one agent, described anew and given ports when it is new; nothing happens when it runs.

    Raises:
        CannotStart: an `up` or `down` is at work.
    """
    with only_one(home, patience_s=_PATIENCE_S):
        config = config_of(home)
        config = replace(config, slots=tuple(sorted({*config.slots, slot})))
        config = with_ports(config, in_use_by_us=[record.spec.name for record in living(home.run)])
        write_config(home, config)
        manager, program = Manager(home), fleet.agent(home, config, agent_id(slot))
        if not manager.is_current(program):
            manager.put(program, fleet.order_of(program.name))
        manager.start(program.name)


def forget_agent(home: Home, slot: int) -> None:
    """Stop one agent and forget it; CannotStart while an `up` or `down` is at work."""
    manager = Manager(home)
    manager.stop(agent_id(slot))
    with only_one(home, patience_s=_PATIENCE_S):
        config = config_of(home)
        write_config(home, replace(config, slots=tuple(it for it in config.slots if it != slot)))
        manager.remove(agent_id(slot))


def down(home: Home, progress: Progress) -> list[str]:
    """Stop everything of this home in reverse order; name what was stopped. Data stay."""
    if not home.run.exists():
        return []
    with only_one(home):
        manager = Manager(home)
        if not manager.answers:
            with step(progress, "leftovers"):
                return manager.end_leftovers()
        running = [name for name, state in manager.states().items() if state.pid]
        for order in sorted({fleet.order_of(name) for name in running}, reverse=True):
            together = [name for name in running if fleet.order_of(name) == order]
            with step(progress, ", ".join(together)):
                manager.stop(*together)
        manager.shut_down()
    return running


def services(home: Home) -> list[Service]:
    """What is known of every program, the process manager first; empty before the first `up`."""
    if not home.run.exists():
        return []
    manager, alive = Manager(home), {record.spec.name: record.pid for record in living(home.run)}
    supervised = manager.states() if manager.answers else {}
    names = {file.name.removesuffix(".spec.json") for file in home.run.glob("*.spec.json")} - {MANAGER}
    found = [Service(MANAGER, "running" if supervised else "stopped", alive.get(MANAGER, 0))]
    for name in sorted(names, key=lambda name: (fleet.order_of(name), name)):
        left = "unsupervised" if name in alive else "stopped"
        state = supervised[name].state if name in supervised else left
        found.append(Service(name, state, alive.get(name, 0)))
    return found


def config_of(home: Home) -> Config:
    """What was chosen on `up`.

    Raises:
        CannotStart: there was no `up` yet.
    """
    if config := read_config(home):
        return config
    raise CannotStart(f"nothing has been set up in {home.root} yet: run `make up` first")


def log_file(home: Home, name: str) -> Path:
    """Where a program writes; older parts are beside it as `.1` to `.3`."""
    return home.logs / f"{name}.log"


def log_tail(home: Home, name: str, lines: int = 8) -> str:
    """The last lines a program wrote."""
    file = log_file(home, name)
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""


@contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """Tell of a step that begins, and how long it took when it is done."""
    began = time.monotonic()
    progress.began(what)
    yield
    progress.done(what, time.monotonic() - began)


@contextmanager
def only_one(home: Home, patience_s: float = 0) -> Iterator[None]:
    """One `up` or `down` of a home at a time."""
    give_up = time.monotonic() + patience_s
    with (home.run / "lifecycle.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise CannotStart(f"another up or down of {home.root} is at work: wait for it") from None
                time.sleep(0.02)
        yield
