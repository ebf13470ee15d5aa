"""The two runtimes behind one face: whichever a home was brought up with carries out its commands."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.cli import embedded
from appliance.cli.versions import version_of
from appliance.containers import lifecycle as docker
from appliance.containers import running
from appliance.containers.places import Staged
from appliance.core.records import Agent
from appliance.core.settings import Settings
from appliance.embedded import config, lifecycle
from appliance.embedded.config import Config, read_config
from appliance.embedded.lifecycle import Service, Wishes
from appliance.embedded.places import Home


@dataclass(frozen=True)
class Runtime:
    """What commands need of a runtime."""

    name: str
    own_pids: bool
    """Whether the registry's process numbers are this machine's."""
    up: Callable[[Home, Wishes, docker.Progress], Config]
    down: Callable[[Home, docker.Progress], list[str]]
    services: Callable[[Home], list[Service]]
    """Every program, whatever supervises them first; empty before the first `up`."""
    settings_of: Callable[[Home, Config], Settings]
    """Settings with which a command reaches the stores."""
    is_running: Callable[[Home, str], bool]
    agents: Callable[[Home, Config], tuple[str, ...]]
    """The agents that should be there."""
    log_tail: Callable[[Home, str, int], str]
    version_of: Callable[[Home, str], str]
    """Of a program, as its server says it."""
    kill: Callable[[Home, Agent], None]
    """End all processes of an agent at once, as an accident would."""
    stop: Callable[[Home, str], None]
    """End an agent in order, until the next `up`."""
    data_of: Callable[[Home], str]
    """Where its data are, in words."""
    delete: Callable[[Home, docker.Progress], None] | None = None
    """Delete its data, where they are not files of the home's."""


EMBEDDED = Runtime(
    name="embedded",
    own_pids=True,
    up=lifecycle.up,
    down=lifecycle.down,
    services=embedded.services,
    settings_of=config.settings_of,
    is_running=embedded.is_running,
    agents=lambda _, chosen: chosen.agent_ids,
    log_tail=lifecycle.log_tail,
    version_of=lambda _, program: version_of(program),
    kill=embedded.kill_agent,
    stop=embedded.stop,
    data_of=lambda home: str(home.root),
)
DOCKER = Runtime(
    name="docker",
    own_pids=False,
    up=docker.up,
    down=docker.down,
    services=running.services,
    settings_of=running.settings_of,
    is_running=running.is_running,
    agents=lambda home, _: running.agents(home),
    log_tail=running.log_tail,
    version_of=lambda home, program: running.version_of(home, program) or version_of(program),
    kill=running.kill_agent,
    stop=running.stop,
    data_of=lambda home: f"the volumes of the project {Staged(home).project}",
    delete=docker.delete,
)
RUNTIMES = {runtime.name: runtime for runtime in (EMBEDDED, DOCKER)}


def runtime_of(home: Home) -> Runtime:
    """Return the runtime a home was brought up with."""
    found = read_config(home)
    return RUNTIMES[found.runtime] if found else EMBEDDED
