"""`nexus up` and `nexus down`: everything comes up in order and ends with a real answer."""

import asyncio
import json
import os
import sys
import time
from typing import Annotated, Any

import typer

from appliance.cli.common import HOME, HomeOption, Place, home_at, make, new_link, out
from appliance.cli.embedded import refuse_frozen_manager
from appliance.cli.progress import Steps
from appliance.cli.runtime import DOCKER, EMBEDDED, RUNTIMES, Runtime, runtime_of
from appliance.cli.talk import Talk
from appliance.containers.engine import refuse_unusable_docker
from appliance.core.errors import BadInput, CannotStart, ModelError
from appliance.embedded.bootstrap.machine import docker_state
from appliance.embedded.config import read_config
from appliance.embedded.lifecycle import Wishes
from appliance.embedded.places import Home

QUESTION = "Say hello."


def up(
    agents: Annotated[int | None, typer.Option(min=1, max=50, help="How many agents, the first time.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the gateway.")] = None,
    claude: Annotated[bool | None, typer.Option(help="Use Claude as fallback; it costs money.")] = None,
    grafana: Annotated[bool, typer.Option("--grafana", help="Grafana as well (containers only); it stays.")] = False,
    runtime: Annotated[str, typer.Option(help="docker or embedded (processes); the first time only.")] = "",
    home: HomeOption = HOME,
) -> None:
    """Start everything that does not run yet; safe to repeat."""
    chosen = choose(home_at(home), runtime)
    if grafana and chosen is not DOCKER:
        raise BadInput("Grafana comes as a container only: it needs the runtime docker.")
    began = time.monotonic()
    look: dict[str, Any] = json.loads(os.environ.pop("NEXUS_LOOK", "{}"))
    _use_found_ollama(look.get("models", {}))
    wishes = Wishes(agents=agents, port=port, claude_allowed=_claude_allowed(claude), grafana=grafana)
    refuse_frozen_manager(home_at(home))
    with Steps() as steps:
        chosen.up(home_at(home), wishes, steps)
        asyncio.run(_prove(Place(home), steps))
    _say_ready(Place(home), time.monotonic() - began, float(look.get("install_s", 0)))


def choose(home: Home, said: str) -> Runtime:
    """Return the runtime of a home: the one it was set up with, else what was said, else Docker where it answers.

    Raises:
        BadParameter: there is no such runtime. CannotStart: the home has another, or Docker cannot be used.
    """
    if said and said not in RUNTIMES:
        raise typer.BadParameter(f"there are: {', '.join(RUNTIMES)}", param_hint="--runtime")
    before = read_config(home)
    if before and said not in ("", before.runtime):
        raise CannotStart(
            f"{home.root} was set up with the runtime {before.runtime}, and data do not move by themselves: choose "
            f"another --home for {said}."
        )
    usual = DOCKER.name if docker_state() == "answers" else EMBEDDED.name
    chosen = RUNTIMES[before.runtime if before else said or usual]
    if chosen is DOCKER:
        refuse_unusable_docker()
    return chosen


def _use_found_ollama(models: dict[str, Any]) -> None:
    """Use an Ollama that answers on its usual port, by name; what the user set stays."""
    if models.get("ollama_models") and not models.get("chosen_url"):
        os.environ["OLLAMA_URL"] = models["ollama_url"]
        os.environ.setdefault("OLLAMA_MODEL", models["ollama_models"][0])


def _claude_allowed(said: bool | None) -> bool:
    """Claude costs money: only after a yes, on the command line or at the prompt."""
    if said is not None or not os.environ.get("ANTHROPIC_API_KEY"):
        return bool(said)
    if not sys.stdin.isatty():
        out.print("  ! Claude is not used: nobody was there to say yes (--claude does)", style="yellow")
        return False
    return typer.confirm("  Use Claude as fallback? It costs money", default=False)


async def _prove(place: Place, steps: Steps) -> None:
    """Ask a real question through the gateway."""
    steps.began("a first question")
    async with place.login() as token, Talk(place.config.url, token) as talk:
        await talk.ask(QUESTION)
        async for event in talk.events():
            if event["type"] == "done":
                steps.proved(
                    "a first question",
                    f'asked "{QUESTION}": answered by {event["agent"]} ({event["model"]}), '
                    f"first token {event['ttft_ms'] / 1000:.2f} s",
                )
            elif event["type"] in ("failed", "cancelled"):
                raise ModelError(f"The first question was not answered: {event.get('reason', 'stopped')}")


def _say_ready(place: Place, seconds: float, install_s: float) -> None:
    link = asyncio.run(new_link(place))
    spent = f"{seconds + install_s:.0f} s ({seconds:.1f} s without downloads)" if install_s else f"{seconds:.1f} s"
    out.print(f"[bold]Ready in {spent}[/]")
    out.print(f"  Open   {link}   (once, 15 min; new one: {make('link', place.home)})", markup=False)
    if os.environ.get("SSH_CONNECTION"):
        port = place.config.ports["gateway"]
        host = os.environ["SSH_CONNECTION"].split()[2]
        out.print(f"  From your own machine first:  ssh -L {port}:127.0.0.1:{port} {host}", markup=False)
    if grafana := place.config.ports.get("grafana"):
        out.print(
            f"  Look   http://127.0.0.1:{grafana}   (admin, password in {place.home.secrets}/grafana_password)",
            markup=False,
        )
    commands = f"  Break  {make('failover-demo', place.home)}        Stop  {make('down', place.home)}"
    out.print(commands, markup=False)


def down(
    volumes: Annotated[bool, typer.Option("--volumes", help="Delete the data as well (containers only).")] = False,
    home: HomeOption = HOME,
) -> None:
    """Stop everything of this home, in order; data stay."""
    place = home_at(home)
    runtime = runtime_of(place)
    if volumes and runtime.delete is None:
        raise BadInput(f"The data of this appliance are files: `make down`, then delete {place.root}.")
    refuse_frozen_manager(place)
    with Steps() as steps:
        stopped = runtime.down(place, steps)
        if volumes and runtime.delete:
            runtime.delete(place, steps)
    kept = "its data are deleted" if volumes else f"data stay in {runtime.data_of(place)}"
    said = f"Stopped {len(stopped)} programs; {kept}." if stopped or volumes else "Nothing was running."
    out.print(said, markup=False)
