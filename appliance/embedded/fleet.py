"""The programs of one home, each described once, and the order in which they start."""

import sys
from pathlib import Path

from appliance.embedded import embedder, model, postgres, redis
from appliance.embedded.config import (
    LOOPBACK,
    Config,
    addresses,
    agent_environment,
    runs_bundled_embedder,
    runs_bundled_model,
)
from appliance.embedded.places import CHECKOUT, Home, nginx_binary
from appliance.embedded.programs import Program, answers, listens, serves

_ALL = ("postgres", "redis", "model", "embedder", "agent", "broker", "control-plane", "gateway", "prometheus")
ORDER = {name: place for place, name in enumerate(_ALL, 1)}
"""Started in this order, stopped in reverse."""
PYTHON = {"PYTHONPATH": str(CHECKOUT), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def order_of(name: str) -> int:
    """The place of a program in the start order."""
    return ORDER.get(name, ORDER["agent"])


def stores(home: Home, config: Config) -> list[Program]:
    """What must answer before anything else can start."""
    return [postgres.postgres(home, config.ports["postgres"]), redis.redis(home, config.ports["redis"])]


def models(home: Home, config: Config) -> list[Program]:
    """The bundled model, if it is wanted."""
    return [model.model(home, config.ports["model"])] if runs_bundled_model(config) else []


def embedders(home: Home, config: Config) -> list[Program]:
    """The bundled embedder, if it is wanted."""
    return [embedder.embedder(home, config.ports["embedder"])] if runs_bundled_embedder(config) else []


def agents(home: Home, config: Config) -> list[Program]:
    """The agents that should run."""
    return [agent(home, config, name) for name in config.agent_ids]


def agent(home: Home, config: Config, name: str) -> Program:
    """One agent. It gets time to hand its work back."""
    return Program(
        name=name,
        argv=(sys.executable, "-m", "agent_image"),
        cwd=home.run,
        env=python_environment(home, config) | agent_environment(config, name),
        check=serves(f"http://{LOOPBACK}:{config.ports[name]}/readyz"),
        stop_within_s=20,
    )


def broker(home: Home) -> Program:
    """What starts and stops agents for the control plane. It is told of no store and no secret."""
    listen = ("--fleet", "processes", "--home", str(home.root), "--socket", str(broker_socket(home)))
    return Program(
        name="broker",
        argv=(sys.executable, "-m", "control_plane.broker", *listen),
        cwd=home.run,
        env=PYTHON,
        check=listens(broker_socket(home)),
    )


def broker_socket(home: Home) -> Path:
    """Where the broker listens, in a folder that is open to nobody else."""
    return home.run / "broker.sock"


def web(home: Home, config: Config) -> list[Program]:
    """The control plane, then the gateway in front of everything."""
    gateway, control = config.ports["gateway"], config.ports["control-plane"]
    listen = ["--listen", f"{LOOPBACK}:{gateway}", "--nginx", str(nginx_binary())]
    listen += ["--metrics", f"{LOOPBACK}:{config.ports['gateway-metrics']}"]
    return [
        Program(
            name="control-plane",
            argv=(sys.executable, "-m", "control_plane"),
            cwd=home.run,
            env=python_environment(home, config) | {"BROKER_SOCKET": str(broker_socket(home))},
            check=serves(f"http://{LOOPBACK}:{control}/readyz"),
        ),
        Program(
            name="gateway",
            argv=(sys.executable, "-m", "appliance.gateway", "--folder", str(home.nginx), *listen),
            cwd=home.run,
            env=python_environment(home, config),
            check=answers(f"http://{LOOPBACK}:{gateway}/_gateway/health"),
        ),
    ]


def python_environment(home: Home, config: Config) -> dict[str, str]:
    """What every Python program of ours is told; secrets as a folder, never as values."""
    told = {name.upper(): value for name, value in addresses(config).items()}
    return PYTHON | {"NEXUS_SECRETS_DIR": str(home.secrets)} | told
