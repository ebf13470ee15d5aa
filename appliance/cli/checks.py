"""What `nexus doctor` looks at: a list of checks, each with advice that can be typed."""

import os
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import httpx2

from appliance.cli.common import Place, make
from appliance.cli.failures import sentence_of
from appliance.cli.status import UNSUPERVISED, is_stopped, programs_of
from appliance.core.errors import NexusError, SettingsError, StoreUnfit
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.embedded.config import GATEWAY_PORT, is_free
from appliance.embedded.lifecycle import Service, log_file
from appliance.embedded.places import Home
from appliance.embedded.processes import holder_of_port

DISK_LOW_GB, DISK_FULL_GB = 2.0, 0.3
CLOCK_OFF_S, BEAT_LATE_S = 1.0, 1.2
_PATIENCE_S = 2.0
Mark = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    name: str
    mark: Mark
    said: str
    advice: str = ""


class Patient:
    """What all checks share: one reading of the programs, and of the settings."""

    def __init__(self, place: Place, services: dict[str, Service]) -> None:
        self.place = place
        self.services = services

    @classmethod
    def of(cls, place: Place) -> "Patient":
        """Read the programs once."""
        return cls(place, {service.name: service for service in programs_of(place.home)})

    @cached_property
    def settings(self) -> Settings:
        """The settings all programs are started with; SettingsError when one is refused."""
        return self.place.settings

    def make(self, command: str) -> str:
        """Return the command that mends something here."""
        return make(command, self.place.home)

    def logs(self, name: str) -> str:
        """Return the command that shows what a program wrote."""
        return self.make(f"logs A={name}")

    def why_dead(self, name: str) -> Finding | None:
        """Say that a program is stopped, frozen or not there, and who sits on its port; None when it runs."""
        service = self.services.get(name)
        if service is None or not service.pid:
            state = service.state if service else "not set up"
            log = log_file(self.place.home, name)
            stranger = self.stranger_on(name)
            taken = f"; its port {self.place.config.ports[name]} is taken by {stranger}" if stranger else ""
            advice = f"{self.make('up')}   (its log: {log})"
            return Finding(name, "bad", f"{name} does not run ({state}{taken})", advice)
        if is_stopped(service.pid):
            return Finding(name, "bad", f"{name} is frozen (pid {service.pid})", f"kill -CONT {service.pid}")
        return None

    def stranger_on(self, name: str) -> str | None:
        """Name who listens on the port of a program that does not run; None when it is free."""
        port = self.place.config.ports.get(name)
        return None if port is None or is_free(port) else holder_of_port(port) or "another program"


Check = Callable[[Patient], Awaitable[list[Finding]]]


async def process_manager(patient: Patient) -> list[Finding]:
    """Is supervisord there to restart what dies?"""
    manager = next(iter(patient.services.values()), None)
    if manager is None or not any(service.pid for service in patient.services.values()):
        return [Finding("process manager", "bad", "nothing runs", patient.make("up"))]
    if manager.state == "frozen":
        said = f"the process manager is frozen (pid {manager.pid}): nothing that dies is started again"
        return [Finding("process manager", "bad", said, f"kill -CONT {manager.pid}")]
    if manager.state != "running":
        return [Finding("process manager", "bad", UNSUPERVISED, patient.make("up"))]
    return [Finding("process manager", "good", f"runs (pid {manager.pid})")]


async def postgresql(patient: Patient) -> list[Finding]:
    """Does PostgreSQL answer, and is it new enough?"""
    if dead := patient.why_dead("postgres"):
        return [dead]
    postgres = Postgres(patient.settings, application="doctor")
    await postgres.open()
    try:
        return [Finding("postgres", "good", await postgres.version())]
    except NexusError as error:
        return [Finding("postgres", "bad", str(error), f"{patient.logs('postgres')}; {patient.make('restart')}")]
    finally:
        await postgres.aclose()


async def redis(patient: Patient) -> list[Finding]:
    """Does Redis answer, with JSON and search?"""
    if dead := patient.why_dead("redis"):
        return [dead]
    client = Redis(patient.settings)
    try:
        return [Finding("redis", "good", await client.check())]
    except StoreUnfit as error:
        # Its configuration, which names the modules, is written anew on every start.
        return [Finding("redis", "bad", error.detail, patient.make("restart"))]
    except NexusError as error:
        return [Finding("redis", "bad", str(error), f"{patient.logs('redis')}; {patient.make('restart')}")]
    finally:
        await client.aclose()


async def model(patient: Patient) -> list[Finding]:
    """Does the model server answer?"""
    chosen = patient.settings
    if "model" in patient.services and (dead := patient.why_dead("model")):
        return [dead]
    url = f"{chosen.ollama_url}/v1" if chosen.ollama_url else chosen.model_url
    async with httpx2.AsyncClient(timeout=_PATIENCE_S, trust_env=False) as client:
        try:
            answer = await client.get(f"{url}/models")
        except httpx2.HTTPError as error:
            said = f"the model server at {url} does not answer ({type(error).__name__})"
            own = chosen.ollama_url or "model" not in patient.services
            advice = "start it, or forget it: OLLAMA_URL= MODEL_URL= make up" if own else patient.logs("model")
            return [Finding("model", "bad", said, advice)]
    mark: Mark = "good" if answer.status_code == 200 else "bad"
    advice = "" if mark == "good" else patient.logs("model")
    return [Finding("model", mark, f"{url} answers {answer.status_code}", advice)]


async def agents(patient: Patient) -> list[Finding]:
    """Does every agent run, unfrozen, and serve?"""
    client = Redis(patient.settings)
    try:
        view = await Registry(client).view()
    except NexusError:
        view = None
    finally:
        await client.aclose()
    found = []
    for name in patient.place.config.agent_ids:
        record = view.agent(name) if view else None
        runner = record.runner_pid if record else 0
        if dead := patient.why_dead(name):
            found.append(dead)
        elif runner and is_stopped(runner):
            found.append(Finding(name, "bad", f"the runner of {name} is frozen (pid {runner})", f"kill -CONT {runner}"))
        else:
            found.append(await _serves(patient, name))
    return found


async def _serves(patient: Patient, name: str) -> Finding:
    url = f"http://127.0.0.1:{patient.place.config.ports[name]}/readyz"
    async with httpx2.AsyncClient(timeout=_PATIENCE_S + 1, trust_env=False) as client:
        try:
            answer = await client.get(url)
        except httpx2.HTTPError as error:
            return Finding(name, "bad", f"{name} does not answer ({type(error).__name__})", patient.logs(name))
    if answer.status_code == 200:
        return Finding(name, "good", "serves")
    failing = ", ".join(f"{part}: {state}" for part, state in answer.json().items() if state != "ok")
    return Finding(name, "bad", f"{name} cannot work ({failing})", "see the store named")


async def gateway(patient: Patient) -> list[Finding]:
    """Does the gateway listen where the URL says, or does a stranger?"""
    port = patient.place.config.ports["gateway"]
    dead = patient.why_dead("gateway")
    if dead and not is_free(port):
        advice = f"end it, or take another port: {patient.make('up')} ARGS='--port {port + 1}'"
        return [Finding("gateway", "bad", f"port {port} is taken by {patient.stranger_on('gateway')}", advice)]
    if dead:
        return [dead]
    async with httpx2.AsyncClient(timeout=_PATIENCE_S, trust_env=False) as client:
        try:
            answer = await client.get(f"{patient.place.config.url}/login")
        except httpx2.HTTPError as error:
            return [Finding("gateway", "bad", f"does not answer ({type(error).__name__})", patient.logs("gateway"))]
    if answer.status_code != 200:
        return [Finding("gateway", "bad", f"answers {answer.status_code}", "an agent must serve first: see above")]
    return [Finding("gateway", "good", patient.place.config.url)]


async def control_plane(patient: Patient) -> list[Finding]:
    """Does the control plane serve?"""
    return [patient.why_dead("control-plane") or await _serves(patient, "control-plane")]


async def disk(patient: Patient) -> list[Finding]:
    """Is there room for the stores to write?"""
    return [room_at(patient.place.home)]


def room_at(home: Home) -> Finding:
    """Say how much room the disk of a home has, before the first `up` too."""
    there = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free < DISK_FULL_GB:
        return Finding("disk", "bad", f"full: {free:.2f} GB free at {there}", f"free space, then {make('up', home)}")
    if free < DISK_LOW_GB:
        return Finding("disk", "note", f"low: {free:.1f} GB free at {there}", "free space before the stores stop")
    return Finding("disk", "good", f"{free:.0f} GB free")


def first_port() -> Finding:
    """Say whether the address a first `up` would take is free."""
    if is_free(GATEWAY_PORT):
        return Finding("port", "good", f"{GATEWAY_PORT} is free")
    holder = holder_of_port(GATEWAY_PORT) or "another program"
    return Finding("port", "note", f"{GATEWAY_PORT} is taken by {holder}: `up` takes the next free one")


async def clock(patient: Patient) -> list[Finding]:
    """Do heartbeats come in time, and does Redis' clock, which counts them, agree with this one?"""
    if patient.why_dead("redis"):
        return []
    client = Redis(patient.settings)
    try:
        view = await Registry(client).view()
    except NexusError:
        return []
    finally:
        await client.aclose()
    return judge_clock(time.time() - view.redis_time, [it.beat_age_s for it in view.agents if it.boot_alive])


def judge_clock(off_s: float, beat_ages_s: list[float]) -> list[Finding]:
    """Say whether time can be trusted here; an agent that beats late trusts nobody's death (tilt). Pure."""
    if abs(off_s) > CLOCK_OFF_S:
        said = f"Redis' clock is {off_s:+.1f} s off: one of both was set meanwhile"
        return [Finding("clock", "note", said, "timedatectl set-ntp true")]
    late_s = max(beat_ages_s, default=0.0)
    if late_s > BEAT_LATE_S:
        busy = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
        said = f"a heartbeat is {late_s:.1f} s old ({busy}): agents that pause trust nobody's death (tilt)"
        return [Finding("clock", "note", said, "end what takes the processors: top")]
    return [Finding("clock", "good", f"heartbeats at most {late_s:.1f} s old, Redis' clock {abs(off_s):.2f} s off")]


async def settings(patient: Patient) -> list[Finding]:
    """Are all settings accepted?"""
    try:
        _ = patient.settings
    except SettingsError as error:
        name = error.detail.partition(":")[0]
        kept = "it was said in this shell" if name in os.environ else f"it is kept in {patient.place.home.config}"
        return [Finding("settings", "bad", f"{error.detail} ({kept})", f"unset {name}; {name}= {patient.make('up')}")]
    return [Finding("settings", "good", "all accepted")]


async def carry_out(check: Check, patient: Patient) -> list[Finding]:
    """Make one check; what fails unforeseen is a finding of that check, so that it hides no other."""
    name = check.__name__.replace("_", "-")
    try:
        return await check(patient)
    except SettingsError:
        return []  # the check of the settings says so, once
    except Exception as error:
        said = sentence_of(error) or f"cannot be examined ({type(error).__name__}: {error})"
        return [Finding(name, "bad", said, patient.make("restart"))]


async def secrets(patient: Patient) -> list[Finding]:
    """May nobody else read the secrets?"""
    folder = patient.place.home.secrets
    open_to_others = [file.name for file in folder.iterdir() if file.stat().st_mode & 0o077]
    if folder.stat().st_mode & 0o077 or open_to_others:
        said = f"others may read {', '.join(open_to_others) or folder}"
        return [Finding("secrets", "bad", said, f"chmod -R go= '{folder}'")]
    return [Finding("secrets", "good", "only you may read them")]


CHECKS: tuple[Check, ...] = (
    process_manager, settings, disk, secrets, postgresql, redis, clock, model, agents, control_plane, gateway,
)  # fmt: skip
