"""The programs of one home, each described once, and the order in which they start."""

import sys

from appliance.embedded import model, postgres, redis
from appliance.embedded.config import LOOPBACK, Config, addresses, agent_environment, runs_bundled_model
from appliance.embedded.places import CHECKOUT, Home, nginx_binary
from appliance.embedded.programs import Program, answers, serves

ORDER = {"postgres": 1, "redis": 2, "model": 3, "agent": 4, "control-plane": 5, "gateway": 6}
"""Started in this order, stopped in reverse."""


def order_of(name: str) -> int:
    """The place of a program in the start order."""
    return ORDER.get(name, ORDER["agent"])


def stores(home: Home, config: Config) -> list[Program]:
    """What must answer before anything else can start."""
    return [postgres.postgres(home, config.ports["postgres"]), redis.redis(home, config.ports["redis"])]


def models(home: Home, config: Config) -> list[Program]:
    """The bundled model, if it is wanted."""
    return [model.model(home, config.ports["model"])] if runs_bundled_model(config) else []


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


def web(home: Home, config: Config) -> list[Program]:
    """The control plane, then the gateway in front of everything."""
    gateway, control = config.ports["gateway"], config.ports["control-plane"]
    listen = ("--listen", f"{LOOPBACK}:{gateway}", "--nginx", str(nginx_binary()))
    return [
        Program(
            name="control-plane",
            argv=(sys.executable, "-m", "control_plane"),
            cwd=home.run,
            env=python_environment(home, config),
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
    return {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "NEXUS_SECRETS_DIR": str(home.secrets),
    } | {name.upper(): value for name, value in addresses(config).items()}
