"""What `nexus doctor` looks at: a list of checks, each with advice that can be typed."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import httpx2

from appliance.cli.common import Place
from appliance.cli.status import UNSUPERVISED, is_stopped
from appliance.core.errors import NexusError
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.embedded.config import is_free
from appliance.embedded.lifecycle import Service, log_file, services
from appliance.embedded.processes import holder_of_port

DISK_LOW_GB, DISK_FULL_GB = 2.0, 0.3
_PATIENCE_S = 2.0
Mark = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    name: str
    mark: Mark
    said: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What all checks share: one reading of the programs."""

    place: Place
    services: dict[str, Service]

    @classmethod
    def of(cls, place: Place) -> "Patient":
        """Read the programs once."""
        return cls(place, {service.name: service for service in services(place.home)})

    def why_dead(self, name: str) -> Finding | None:
        """Say that a program is stopped, frozen or not there; None when it runs."""
        service = self.services.get(name)
        if service is None or not service.pid:
            state = service.state if service else "not set up"
            log = log_file(self.place.home, name)
            return Finding(name, "bad", f"{name} does not run ({state})", f"make up   (its log: {log})")
        if is_stopped(service.pid):
            return Finding(name, "bad", f"{name} is frozen (pid {service.pid})", f"kill -CONT {service.pid}")
        return None


Check = Callable[[Patient], Awaitable[list[Finding]]]


async def process_manager(patient: Patient) -> list[Finding]:
    """Is supervisord there to restart what dies?"""
    manager = next(iter(patient.services.values()), None)
    if manager is None or not any(service.pid for service in patient.services.values()):
        return [Finding("process manager", "bad", "nothing runs", "make up")]
    if manager.state != "running":
        return [Finding("process manager", "bad", UNSUPERVISED, "make up")]
    return [Finding("process manager", "good", f"runs (pid {manager.pid})")]


async def postgresql(patient: Patient) -> list[Finding]:
    """Does PostgreSQL answer, and is it new enough?"""
    if dead := patient.why_dead("postgres"):
        return [dead]
    postgres = Postgres(patient.place.settings, application="doctor")
    await postgres.open()
    try:
        return [Finding("postgres", "good", await postgres.version())]
    except NexusError as error:
        return [Finding("postgres", "bad", error.detail, f"make logs A=postgres   ({error})")]
    finally:
        await postgres.aclose()


async def redis(patient: Patient) -> list[Finding]:
    """Does Redis answer, with JSON and search?"""
    if dead := patient.why_dead("redis"):
        return [dead]
    client = Redis(patient.place.settings)
    try:
        return [Finding("redis", "good", await client.check())]
    except NexusError as error:
        return [Finding("redis", "bad", error.detail, "make logs A=redis; make restart")]
    finally:
        await client.aclose()


async def model(patient: Patient) -> list[Finding]:
    """Does the model server answer?"""
    settings = patient.place.settings
    if "model" in patient.services and (dead := patient.why_dead("model")):
        return [dead]
    url = f"{settings.ollama_url}/v1" if settings.ollama_url else settings.model_url
    async with httpx2.AsyncClient(timeout=_PATIENCE_S, trust_env=False) as client:
        try:
            answer = await client.get(f"{url}/models")
        except httpx2.HTTPError as error:
            said = f"the model server at {url} does not answer ({type(error).__name__})"
            return [
                Finding("model", "bad", said, "make logs A=model; or set OLLAMA_URL to one that answers and make up")
            ]
    mark: Mark = "good" if answer.status_code == 200 else "bad"
    return [
        Finding("model", mark, f"{url} answers {answer.status_code}", "" if mark == "good" else "make logs A=model")
    ]


async def agents(patient: Patient) -> list[Finding]:
    """Does every agent run, unfrozen, and serve?"""
    client = Redis(patient.place.settings)
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
            return Finding(name, "bad", f"{name} does not answer ({type(error).__name__})", f"make logs A={name}")
    if answer.status_code == 200:
        return Finding(name, "good", "serves")
    failing = ", ".join(f"{part}: {state}" for part, state in answer.json().items() if state != "ok")
    return Finding(name, "bad", f"{name} cannot work ({failing})", "see the store named")


async def gateway(patient: Patient) -> list[Finding]:
    """Does the gateway listen where the URL says, or does a stranger?"""
    port = patient.place.config.ports["gateway"]
    dead = patient.why_dead("gateway")
    if dead and not is_free(port):
        holder = holder_of_port(port) or "another program"
        return [Finding("gateway", "bad", f"port {port} is taken by {holder}", "end it, or make up ARGS='--port 8090'")]
    if dead:
        return [dead]
    async with httpx2.AsyncClient(timeout=_PATIENCE_S, trust_env=False) as client:
        try:
            answer = await client.get(f"{patient.place.config.url}/login")
        except httpx2.HTTPError as error:
            return [Finding("gateway", "bad", f"does not answer ({type(error).__name__})", "make logs A=gateway")]
    if answer.status_code != 200:
        return [Finding("gateway", "bad", f"answers {answer.status_code}", "an agent must serve first: see above")]
    return [Finding("gateway", "good", patient.place.config.url)]


async def control_plane(patient: Patient) -> list[Finding]:
    """Does the control plane serve?"""
    return [patient.why_dead("control-plane") or await _serves(patient, "control-plane")]


async def disk(patient: Patient) -> list[Finding]:
    """Is there room for the stores to write?"""
    free = shutil.disk_usage(patient.place.home.root).free / 1e9
    if free < DISK_FULL_GB:
        return [
            Finding("disk", "bad", f"full: {free:.2f} GB free at {patient.place.home.root}", "free space, then make up")
        ]
    if free < DISK_LOW_GB:
        return [Finding("disk", "note", f"low: {free:.1f} GB free", "free space before the stores stop writing")]
    return [Finding("disk", "good", f"{free:.0f} GB free")]


async def secrets(patient: Patient) -> list[Finding]:
    """May nobody else read the secrets?"""
    folder = patient.place.home.secrets
    open_to_others = [file.name for file in folder.iterdir() if file.stat().st_mode & 0o077]
    if folder.stat().st_mode & 0o077 or open_to_others:
        said = f"others may read {', '.join(open_to_others) or folder}"
        return [Finding("secrets", "bad", said, f"chmod -R go= '{folder}'")]
    return [Finding("secrets", "good", "only you may read them")]


CHECKS: tuple[Check, ...] = (
    process_manager, disk, secrets, postgresql, redis, model, agents, control_plane, gateway,
)  # fmt: skip
