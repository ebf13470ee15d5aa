"""What runs of one home's project: containers, their states, addresses and last words."""

import re
import subprocess
from dataclasses import dataclass
from typing import Any

from appliance.containers.compose import SERVICES, secrets_of
from appliance.containers.engine import Engine, compose_command
from appliance.containers.places import Staged
from appliance.core.errors import BadInput, CannotStart
from appliance.core.records import Agent
from appliance.core.settings import Settings, load
from appliance.embedded.config import Config, shared_settings
from appliance.embedded.lifecycle import Service
from appliance.embedded.places import Home

ENGINE = "docker"
"""How the engine itself is called in `status`, where the runtime without Docker has its process manager."""
_STATES = {"paused": "frozen", "restarting": "backoff", "exited": "stopped", "created": "stopped", "dead": "fatal"}
_LABEL = "com.docker.compose"
_DEBIANS = {"redis": "redis-server", "prometheus": "prometheus"}
"""Programs that containers have from Debian's packages."""
_NOWHERE = "127.0.0.1:9"
"""Where nobody listens: the discard port."""


@dataclass(frozen=True)
class Container:
    """One container of the project."""

    name: str
    """As `docker` knows it."""
    service: str
    number: int
    state: str
    pid: int
    """Of its first process, as this machine counts; 0 while it does not run."""
    addresses: tuple[str, ...]

    @property
    def program(self) -> str:
        """Its name in `status`: the service, or the agent."""
        return f"{self.service}-{self.number}" if self.service == "agent" else self.service


def containers(home: Home, engine: Engine | None = None) -> list[Container]:
    """Return the project's containers in the order in which they start.

    Raises:
        CannotStart: Docker does not answer.
    """
    engine = engine or Engine()
    chosen = f"label={_LABEL}.project={Staged(home).project}"
    names = engine.ask("ps", "--all", "--quiet", "--filter", chosen).split()
    found = [_container(it) for it in engine.inspect(*names)]
    known = [it for it in found if it.service in SERVICES]
    return sorted(known, key=lambda it: (SERVICES.index(it.service), it.number))


def _container(found: dict[str, Any]) -> Container:
    labels, state = found["Config"]["Labels"], found["State"]
    networks = found["NetworkSettings"]["Networks"].values()
    return Container(
        name=found["Name"].lstrip("/"),
        service=labels[f"{_LABEL}.service"],
        number=int(labels.get(f"{_LABEL}.container-number", 1)),
        state=_STATES.get(state["Status"], state["Status"]),
        pid=int(state["Pid"]),
        addresses=tuple(network["IPAddress"] for network in networks if network["IPAddress"]),
    )


def services(home: Home) -> list[Service]:
    """What is known of every container, the engine first; empty before the first `up`."""
    if not Staged(home).variables.exists():
        return []
    found = [Service(it.program, it.state, it.pid, it.name) for it in containers(home)]
    return [Service(ENGINE, "running", 0), *found]


def agents(home: Home) -> tuple[str, ...]:
    """The agents that have a container: the control plane makes and removes them as the row in PostgreSQL says."""
    return tuple(it.program for it in containers(home) if it.service == "agent")


def is_running(home: Home, program: str) -> bool:
    """Whether a program's container is there; one that is not ours to run (an external store) counts as there."""
    found = [it for it in containers(home) if it.program == program]
    return not found or any(it.pid for it in found)


def settings_of(home: Home, config: Config) -> Settings:
    """The settings with which this process, outside the containers, can use their stores.

    Raises:
        SettingsError: something the user set cannot be used. CannotStart: Docker does not answer.
    """
    at = {it.program: it.addresses[0] for it in containers(home) if it.addresses}

    def reach(program: str, port: int) -> str:
        return f"{at[program]}:{port}" if program in at else _NOWHERE

    stores = {
        "redis_url": f"redis://{reach('redis', 6379)}",
        "postgres_url": f"postgresql://nexus@{reach('postgres', 5432)}/nexus",
    }
    model, embedder = (f"http://{reach(name, 8080)}/v1" for name in ("model", "embedder"))
    shared = shared_settings(config, model, embedder, stores)
    host, _, port = reach("control-plane", 8081).partition(":")
    control = {"control_plane_host": host, "control_plane_port": port}
    return load("operator", **shared | secrets_of(home, config) | control | {"public_url": config.url})


def container_of(home: Home, program: str) -> Container:
    """Return one program's container.

    Raises:
        CannotStart: there is none.
    """
    for it in containers(home):
        if it.program == program:
            return it
    raise CannotStart(f"there is no container of {program}")


def kill_agent(home: Home, agent: Agent) -> None:
    """End both processes of an agent at once; Docker starts its container again, which `docker kill` would forbid.

    Raises:
        CannotStart: there is no such container.
    """
    Engine().ask("exec", container_of(home, agent.id).name, "sh", "-c", "kill -9 -1", accept=(0, 137))


def stop(home: Home, program: str) -> None:
    """Stop an agent's container in order."""
    Engine().run("stop", container_of(home, program).name)


def version_of(home: Home, program: str) -> str:
    """Return the version of what only containers have, in its own words; empty for what both runtimes share."""
    if program == ENGINE:
        return Engine().ask("version", "--format", "{{.Server.Version}}").strip()
    if program not in _DEBIANS:
        return ""
    found = next((it for it in containers(home) if it.program == program and it.state == "running"), None)
    said = Engine().ask("exec", found.name, _DEBIANS[program], "--version") if found else ""
    number = re.search(r"\d+(\.\d+)+", said)
    return number[0] if number else ""


def log_tail(home: Home, program: str, lines: int = 8) -> str:
    """The last lines a program wrote."""
    try:
        name = container_of(home, program).name
    except CannotStart:
        return ""
    done = subprocess.run(
        ["docker", "logs", "--tail", str(lines), name],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout.strip()


def show_logs(home: Home, who: str, *, lines: int, follow: bool) -> None:
    """Print the end of one program's log, or of all, and with `follow` what comes, until Ctrl-C.

    Raises:
        BadInput: there is no such program.
    """
    found = {it.program: it.name for it in containers(home)}
    if who and who not in found:
        raise BadInput(f"There is no log of {who!r}; there are: {', '.join(found) or 'nothing yet'}")
    wanted = ["--tail", str(lines), *(["--follow"] if follow else [])]
    command = (
        ["docker", "logs", *wanted, found[who]]
        if who
        else [*compose_command(), *Staged(home).compose_options, "logs", *wanted]
    )
    subprocess.run(command, check=False, stderr=subprocess.STDOUT)
