"""What `nexus doctor` looks at: a list of checks, each with advice that can be typed."""

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress

import httpx2

from appliance.cli.common import Place, make
from appliance.cli.embedded import is_stopped
from appliance.cli.failures import sentence_of
from appliance.cli.patient import Check, Finding, Mark, Patient
from appliance.cli.pause import words_of
from appliance.cli.status import UNSUPERVISED
from appliance.core.clock import monotonic
from appliance.core.embeddings import HttpEmbedder
from appliance.core.errors import EmbedderAway, NexusError, SettingsError, StoreUnfit
from appliance.core.failover_bounds import worst_cases
from appliance.core.orders import AutomaticFailover
from appliance.core.postgres import Postgres
from appliance.core.records import ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.core.vectors import floats
from appliance.embedded.config import GATEWAY_PORT, is_free
from appliance.embedded.embedder import NAME
from appliance.embedded.places import Home
from appliance.embedded.processes import holder_of_port

DISK_LOW_GB, DISK_FULL_GB = 2.0, 0.3
CLOCK_OFF_S, BEAT_LATE_S = 1.0, 1.2
_PATIENCE_S, _PAUSE_S = 2.0, 0.1


async def process_manager(patient: Patient) -> list[Finding]:
    """Is supervisord there to restart what dies?"""
    manager = next(iter(patient.services.values()), None)
    if manager is None or not any(service.pid for service in patient.services.values()):
        return [Finding("process manager", "bad", "nothing runs", patient.make("up"))]
    if not patient.place.runtime.own_pids:
        return [Finding(manager.name, "good", "answers")]
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


async def embedder(patient: Patient) -> list[Finding]:
    """Does the embedding server turn a text into a vector?"""
    if NAME in patient.services and (dead := patient.why_dead(NAME)):
        return [dead]
    chosen = patient.settings
    client = HttpEmbedder(chosen)
    try:
        [vector] = await client.embed(["Where is the doctor?"], query=True)
    except EmbedderAway as error:
        own = NAME not in patient.services
        mend = "start it, or forget it: EMBEDDING_URL= EMBEDDING_MODEL= make up" if own else patient.logs(NAME)
        return [Finding(NAME, "bad", f"{error}: memories are found by words only", mend)]
    finally:
        await client.aclose()
    said = f"{chosen.embedding_model} at {chosen.embedding_url}, {len(floats(vector))} dimensions"
    return [Finding(NAME, "good", said)]


async def agents(patient: Patient) -> list[Finding]:
    """Does every agent run, unfrozen, and serve?"""
    view = await _registry(patient)
    found = []
    for name in patient.place.agents:
        record = view.agent(name) if view else None
        runner = record.runner_pid if record else 0
        if dead := patient.why_dead(name):
            found.append(dead)
        elif patient.place.runtime.own_pids and is_stopped(runner):
            found.append(Finding(name, "bad", f"the runner of {name} is frozen (pid {runner})", f"kill -CONT {runner}"))
        elif record:
            found.append(await _serves(patient, name, f"{record.host}:{record.port}"))
        else:
            said = "but has not joined the cluster" if view else "but Redis does not say whether it has joined"
            found.append(Finding(name, "bad", f"{name} runs, {said}", patient.logs(name)))
    return found


async def _registry(patient: Patient) -> ClusterView | None:
    """Return who is in the cluster, asked for a while: a busy machine misses the call's 0.3 s. None: nobody says."""
    if patient.why_dead("redis"):
        return None
    client, until = Redis(patient.settings), monotonic() + _PATIENCE_S
    try:
        while True:
            with suppress(NexusError):
                return await Registry(client).view()
            if monotonic() > until:
                return None
            await asyncio.sleep(_PAUSE_S)
    finally:
        await client.aclose()


async def _serves(patient: Patient, name: str, address: str) -> Finding:
    url = f"http://{address}/readyz"
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
    if dead and not patient.runs("gateway") and patient.stranger_on("gateway"):
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
    address = f"{patient.settings.control_plane_host}:{patient.settings.control_plane_port}"
    return [patient.why_dead("control-plane") or await _serves(patient, "control-plane", address)]


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
    view = await _registry(patient)
    if view is None:
        return []
    # A frozen agent is a culprit of its own, no sign of a slow clock.
    frozen = {it.name for it in patient.services.values() if it.state == "frozen"}
    going = [it for it in view.agents if it.boot_alive and it.id not in frozen]
    return judge_clock(time.time() - view.redis_time, [it.beat_age_s for it in going])


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


async def failover(patient: Patient) -> list[Finding]:
    """How long can the replacement of a primary take at worst, and is it paused?"""
    paused = None
    if not patient.why_dead("postgres"):
        async with patient.place.postgres() as postgres:
            paused = await AutomaticFailover(postgres).paused()
    if paused:
        said = f"{words_of(paused)}: a dead primary is not replaced"
        return [Finding("failover", "note", said, patient.make("resume"))]
    bounds = "; ".join(f"{bound.what} at most {bound.seconds} s ({bound.arithmetic})" for bound in worst_cases())
    return [Finding("failover", "good", bounds)]


async def settings(patient: Patient) -> list[Finding]:
    """Are all settings accepted?"""
    try:
        _ = patient.settings
    except SettingsError as error:
        return [Finding("settings", "bad", *refusal(error, os.environ, patient.place))]
    return [Finding("settings", "good", "all accepted")]


def refusal(error: SettingsError, shell: Mapping[str, str], place: Place) -> tuple[str, str]:
    """Return where a refused setting was said, and the command that ends it."""
    name = error.detail.partition(":")[0]
    if name in shell:
        return f"{error.detail} (said in this shell)", f"unset {name}"
    field = Settings.model_fields.get(name.lower())
    value = f"{name}={field.default}" if field else f"{name}=…"
    return f"{error.detail} (kept in {place.home.config})", f"{value} {make('up', place.home)}"


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
    process_manager, settings, disk, secrets, postgresql, redis, clock, failover, model, embedder, agents,
    control_plane, gateway,
)  # fmt: skip
