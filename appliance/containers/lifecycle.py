"""Up and down with Docker: every step looks first, so that repeating any of them is safe."""

import asyncio
import os
import secrets
import time
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

import httpx2

from appliance.containers import base, compose, images
from appliance.containers.engine import Engine, fetch_compose, has_compose
from appliance.containers.places import APT_CONF, Staged
from appliance.containers.running import containers, log_tail, services, settings_of
from appliance.core.desired_fleet import Desired, DesiredFleet, Wish
from appliance.core.errors import CannotStart, StoreAway
from appliance.core.migrations import migrate
from appliance.core.postgres import Postgres, wait_until_answering
from appliance.core.records import Status
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings
from appliance.embedded import lifecycle, terminal
from appliance.embedded.config import (
    FIRST_AGENTS,
    GATEWAY_PORT,
    Config,
    is_free,
    keep_secret_settings,
    read_config,
    with_settings,
    write_config,
)
from appliance.embedded.lifecycle import Wishes, only_one, step
from appliance.embedded.places import Home
from appliance.embedded.processes import holder_of_port
from appliance.embedded.secrets import generate_missing, write_private

READY_WITHIN_S = 90.0
GRAFANA_PORT = 3000
_LOOK_S = 0.1


class Progress(lifecycle.Progress, Protocol):
    """Is told what happens, and each command that does it."""

    def ran(self, command: str) -> None:
        """A command of Docker's is about to run; it could be typed by hand."""


def up(home: Home, wishes: Wishes, progress: Progress) -> Config:
    """Bring everything up that is not up yet, in order, each checked before the next; return what was chosen.

    Raises:
        CannotStart: something does not come up; says what and why. SettingsError: a setting cannot be used.
    """
    home.create()
    engine = Engine(progress.ran)
    with only_one(home):
        with base.alone():
            tags = _images(engine, progress)
        config = _decide(home, wishes, progress)
        config = _with_grafana(engine, home, config, wishes, progress)
        compose.stage(home, config, tags)
        _refuse_open_box(engine, home, config)
        with step(progress, "stores"):
            _bring_stores(engine, home, config)
        with step(progress, "tables"):
            asyncio.run(migrate(settings_of(home, config), "pre"))
        config = _obey_desired(home, config, wishes, progress)
        with step(progress, "containers"):
            # Compose would choose whom to remove; the control plane drains who is wished for no more.
            there = sum(it.service == "agent" for it in containers(home))
            _compose(engine, home, "up", "--detach", "--scale", f"agent={max(len(config.slots), there)}")
        with step(progress, "agents, control plane, gateway"):
            asyncio.run(_until_serving(home, config))
        asyncio.run(migrate(settings_of(home, config), "post"))
    return config


def _compose(engine: Engine, home: Home, *words: str) -> str:
    return engine.compose(Staged(home).compose_options, *words)


def _refuse_open_box(engine: Engine, home: Home, config: Config) -> None:
    """Try in an agent's container, with all that it may and may not do there, whether a command can be isolated."""
    if settings_of(home, config).cluster_terminal:
        terminal.refuse(_compose(engine, home, "run", "--rm", "--no-deps", "-T", "agent", "python", *terminal.TRIAL))


def _images(engine: Engine, progress: Progress) -> images.Tags:
    """Build what is missing; the same content is never built twice, and with all of it there nothing is downloaded."""
    with step(progress, "base image"):
        debian = base.debian(engine, progress.say)
    if not has_compose():
        with step(progress, "Docker Compose"):
            fetch_compose(debian, APT_CONF)
    tags = images.tags_on(debian)
    if missing := images.missing(engine, tags):
        progress.say(
            f"building {len(missing)} images; the first time that is {base.DOWNLOAD_MB} MB to download and minutes"
        )
        with step(progress, "packages"):
            base.collect_wheels()
        images.build(engine, debian, tags, missing, lambda what: step(progress, what))
    return tags


def _decide(home: Home, wishes: Wishes, progress: Progress) -> Config:
    """Settle and remember port, number and settings."""
    before = read_config(home) or Config(slots=tuple(range(1, (wishes.agents or FIRST_AGENTS) + 1)))
    config = replace(with_settings(before, os.environ, external_stores=True), runtime="docker")
    remembered = config.ports.get("gateway")
    port = wishes.port or remembered or _first_port(progress)
    is_ours = port == remembered and any(it.name == "gateway" and it.pid for it in services(home))
    if not is_ours and not is_free(port):
        holder = holder_of_port(port) or "another program"
        raise CannotStart(f"port {port} is taken by {holder}: end that, or choose another with --port")
    config = replace(config, ports={**config.ports, "gateway": port})
    generate_missing(home.secrets)
    keep_secret_settings(home, os.environ, claude_allowed=wishes.claude_allowed)
    compose.keep_store_passwords(home, os.environ)
    settings_of(home, config)
    write_config(home, config)
    return config


def _with_grafana(engine: Engine, home: Home, config: Config, wishes: Wishes, progress: Progress) -> Config:
    """Add Grafana once it was wished for, if its image can be had; it is the only part that we cannot build."""
    if not wishes.grafana or "grafana" in config.ports:
        return config
    try:
        if not engine.has_image(compose.GRAFANA):
            with step(progress, "Grafana"):
                engine.run("pull", "--quiet", compose.GRAFANA)
    except CannotStart:
        progress.say(f"Grafana is left out: its image {compose.GRAFANA} cannot be pulled here; everything else works")
        return config
    if not (home.secrets / "grafana_password").exists():
        write_private(home.secrets / "grafana_password", secrets.token_urlsafe(16))
    config = replace(config, ports={**config.ports, "grafana": _next_free(GRAFANA_PORT)})
    write_config(home, config)
    return config


def _next_free(port: int) -> int:
    while not is_free(port):
        port += 1
    return port


def _first_port(progress: Progress) -> int:
    port = _next_free(GATEWAY_PORT)
    if port != GATEWAY_PORT:
        holder = holder_of_port(GATEWAY_PORT) or "another program"
        progress.say(f"port {GATEWAY_PORT} is taken by {holder}: this appliance is at {port}")
    return port


def _bring_stores(engine: Engine, home: Home, config: Config) -> None:
    own = [name for name in compose.profiles(config) if name in ("postgres", "redis")]
    if own:
        _compose(engine, home, "up", "--detach", *own)
    asyncio.run(wait_until_answering(settings_of(home, config), READY_WITHIN_S))


def _obey_desired(home: Home, config: Config, wishes: Wishes, progress: Progress) -> Config:
    """Let the row in PostgreSQL say how many agents there are; where none runs, they are counted from 1 again."""
    fresh = not any(it.service == "agent" for it in containers(home))
    desired = asyncio.run(_desired(settings_of(home, config), first=len(config.slots), fresh=fresh))
    if wishes.agents not in (None, desired.number):
        progress.say(f"{desired.number} agents run, as was said before; `nexus scale {wishes.agents}` changes that")
    config = replace(config, slots=desired.slots)
    write_config(home, config)
    return config


async def _desired(settings: Settings, *, first: int, fresh: bool) -> Desired:
    postgres = Postgres(settings, application="nexus up")
    await postgres.open()
    try:
        fleet = DesiredFleet(postgres)
        wanted = await fleet.up(first, by="nexus up")
        counted = tuple(range(1, wanted.number + 1))
        if fresh and wanted.slots != counted:
            wanted = await fleet.change(lambda _: Wish(counted), action="up", by="nexus up", key=uuid4())
        return wanted
    finally:
        await postgres.aclose()


async def _until_serving(home: Home, config: Config) -> None:
    """Return when the agents, the control plane and the gateway serve.

    Raises:
        CannotStart: they do not; with the last words of whoever is missing.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    settings = settings_of(home, config)
    redis = Redis(settings)
    try:
        async with httpx2.AsyncClient(timeout=2, trust_env=False) as http:
            while missing := await _missing(redis, http, settings, config):
                if time.monotonic() > deadline:
                    words = log_tail(home, missing)
                    raise CannotStart(
                        f"{missing} is not ready after {READY_WITHIN_S:g} s; the end of its log:\n{words}"
                    )
                await asyncio.sleep(_LOOK_S)
    finally:
        await redis.aclose()


async def _missing(redis: Redis, http: httpx2.AsyncClient, settings: Settings, config: Config) -> str:
    """Return the first program that does not serve yet; empty when all do."""
    try:
        view = await Registry(redis).view()
    except StoreAway:
        return "redis"
    for name in config.agent_ids:
        agent = view.agent(name)
        if not (agent and agent.boot_alive and agent.status is Status.ACTIVE):
            return name
    control = f"http://{settings.control_plane_host}:{settings.control_plane_port}"
    for name, url in (("control-plane", f"{control}/readyz"), ("gateway", f"{config.url}/login")):
        try:
            if (await http.get(url)).status_code != 200:
                return name
        except httpx2.HTTPError:
            return name
    return ""


def delete(home: Home, progress: Progress) -> None:
    """Delete the data of this home, which must be down: everything there is to know is lost."""
    if Staged(home).variables.exists():
        _compose(Engine(progress.ran), home, "down", "--remove-orphans", "--volumes")


def down(home: Home, progress: Progress) -> list[str]:
    """Stop and remove this home's containers and networks; name what ran. The volumes stay."""
    engine = Engine(progress.ran)
    running = [service.name for service in services(home)[1:] if service.pid]
    if Staged(home).variables.exists():
        with only_one(home), step(progress, "containers"):
            _compose(engine, home, "down", "--remove-orphans")
    return running
