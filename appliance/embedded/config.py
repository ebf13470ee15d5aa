"""What was chosen on the first `up` and is kept, so that the URL and the settings stay (`config.json`)."""

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from appliance.core.desired_fleet import agent_id
from appliance.core.errors import CannotStart
from appliance.core.settings import Settings, load
from appliance.embedded.embedder import embedder_url
from appliance.embedded.model import model_url
from appliance.embedded.places import Home
from appliance.embedded.postgres import postgres_url
from appliance.embedded.processes import holder_of_port
from appliance.embedded.redis import redis_url
from appliance.embedded.secrets import write_private

LOOPBACK = "127.0.0.1"
BUNDLED_MODEL = "bundled/SmolLM2-135M"
FIRST_AGENTS = 3
GATEWAY_PORT = 8080
# Below the range the kernel gives to outgoing connections, so that none of them sits on a remembered port.
_PREFERRED = {"gateway": GATEWAY_PORT, "control-plane": 18081, "postgres": 18432, "redis": 18379, "model": 18434}
_PREFERRED |= {"gateway-metrics": 18082, "prometheus": 18090, "embedder": 18435}
_AGENT_PORTS, _LIVENESS_PORTS = 18101, 18301
_OURS = {"cluster_agent_id", "agent_host", "agent_port", "liveness_port", "control_plane_host", "control_plane_port"}
_OURS |= {"redis_url", "redis_tls", "redis_user", "redis_key_prefix", "postgres_url", "public_url", "broker_socket"}
_STORES = {"redis_url", "redis_tls", "redis_user", "postgres_url"}
_SECRET_SETTINGS = ("anthropic_api_key", "model_api_key", "embedding_api_key")


@dataclass(frozen=True)
class Config:
    """The remembered choices of one home."""

    runtime: str = "embedded"
    slots: tuple[int, ...] = tuple(range(1, FIRST_AGENTS + 1))
    """Which agents there should be: a copy of the row in PostgreSQL, which decides."""
    ports: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return f"http://{LOOPBACK}:{self.ports['gateway']}"

    def is_elsewhere(self, store: str) -> bool:
        """Whether the user named another `redis` or `postgres` in place of ours."""
        return f"{store}_url" in self.settings

    @property
    def agent_ids(self) -> tuple[str, ...]:
        """The names of the agents that should run."""
        return tuple(map(agent_id, self.slots))


def read_config(home: Home) -> Config | None:
    """What an earlier `up` chose, or None before the first."""
    try:
        found: dict[str, Any] = json.loads(home.config.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CannotStart(f"{home.config} cannot be read ({error}): mend or delete it") from None
    known = Config.__dataclass_fields__
    kept = {name: value for name, value in found.items() if name in known}
    return Config(**kept | {"slots": tuple(found.get("slots", range(1, found.get("agents", FIRST_AGENTS) + 1)))})


def write_config(home: Home, config: Config) -> None:
    """Remember."""
    write_private(home.config, json.dumps(asdict(config), indent=2) + "\n")


def with_ports(config: Config, in_use_by_us: Iterable[str]) -> Config:
    """Give everything a port: the remembered one, else the preferred, else the next free.

    Raises:
        CannotStart: a stranger holds the gateway's remembered port, on which the URL depends.
    """
    wanted = dict(_PREFERRED)
    for slot, agent in zip(config.slots, config.agent_ids, strict=True):
        wanted |= {agent: _AGENT_PORTS + slot - 1, f"{agent}-liveness": _LIVENESS_PORTS + slot - 1}
    ours, ports = set(in_use_by_us), dict(config.ports)
    for name, preferred in wanted.items():
        if name.removesuffix("-liveness").removesuffix("-metrics") in ours and name in ports:
            continue
        if name == "gateway" and name in ports:
            _insist(ports[name])
        else:
            others = {port for other, port in ports.items() if other != name}
            ports[name] = _next_free(ports.get(name, preferred), others)
    return replace(config, ports=ports)


def _insist(port: int) -> None:
    if not is_free(port):
        raise CannotStart(
            f"port {port}, where this appliance's address is, is taken by {holder_of_port(port) or 'another program'}: "
            f"end that, or choose another with --port"
        )


def _next_free(port: int, taken: set[int]) -> int:
    while port in taken or not is_free(port):
        port += 1
    return port


def is_free(port: int) -> bool:
    """Whether a program could listen on this loopback port now."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def with_settings(config: Config, environment: Mapping[str, str], *, external_stores: bool = False) -> Config:
    """Remember the settings said in this environment; one set to nothing is forgotten.

    With `external_stores` another Redis or PostgreSQL may be named instead of our own.
    """
    names = set(Settings.model_fields) - (_OURS - (_STORES if external_stores else set())) - set(_SECRET_SETTINGS)
    names = {name for name in names if not name.endswith(("password", "secret"))}
    said = {name: environment[name.upper()] for name in names if name.upper() in environment}
    kept = {name: value for name, value in (dict(config.settings) | said).items() if value}
    return replace(config, settings=kept)


def keep_secret_settings(home: Home, environment: Mapping[str, str], *, claude_allowed: bool) -> None:
    """Keep API keys said in this environment as secret files; Claude's only after a yes, since it costs money."""
    for name in _SECRET_SETTINGS:
        value = environment.get(name.upper())
        if value and (claude_allowed or name != "anthropic_api_key"):
            write_private(home.secrets / name, value)
        elif value == "":
            (home.secrets / name).unlink(missing_ok=True)


def runs_bundled_model(config: Config) -> bool:
    """Whether the bundled model is wanted: always, unless a model server of the user's own takes its place."""
    return "model_url" not in config.settings


def runs_bundled_embedder(config: Config) -> bool:
    """Whether the bundled embedder is wanted: always, unless a server of the user's own takes its place."""
    return "embedding_url" not in config.settings


def addresses(config: Config) -> dict[str, str]:
    """The settings every program of this home shares, without secrets."""
    own = {"redis_url": redis_url(config.ports["redis"]), "postgres_url": postgres_url(config.ports["postgres"])}
    return {
        **shared_settings(config, model_url(config.ports["model"]), embedder_url(config.ports["embedder"]), own),
        **own,
        "control_plane_host": LOOPBACK,
        "control_plane_port": str(config.ports["control-plane"]),
        "public_url": config.url,
    }


def shared_settings(config: Config, model: str, embedder: str, stores: Mapping[str, str]) -> dict[str, str]:
    """The settings of both runtimes: stores and models where they are, unless the user named others."""
    bundled = {"model_url": model, "model_name": BUNDLED_MODEL} if runs_bundled_model(config) else {}
    bundled |= {"embedding_url": embedder} if runs_bundled_embedder(config) else {}
    return {**bundled, **stores, **config.settings}


def settings_of(home: Home, config: Config) -> Settings:
    """The settings with which this process can use the home's stores.

    Raises:
        SettingsError: something the user set cannot be used.
    """
    secrets = {file.name: file.read_text().strip() for file in home.secrets.iterdir() if file.name[0] != "."}
    return load("operator", **addresses(config) | secrets)


def agent_environment(config: Config, agent: str) -> dict[str, str]:
    """What makes an agent this one."""
    return {
        "CLUSTER_AGENT_ID": agent,
        "AGENT_HOST": LOOPBACK,
        "AGENT_PORT": str(config.ports[agent]),
        "LIVENESS_PORT": str(config.ports[f"{agent}-liveness"]),
    }
