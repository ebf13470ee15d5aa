"""`nexus up` and `nexus down`: everything comes up in order and ends with a real answer."""

import asyncio
import json
import os
import sys
import time
from typing import Annotated, Any

import typer

from appliance.cli.common import HOME, HomeOption, Place, home_at, make, new_link, out
from appliance.cli.progress import Steps
from appliance.cli.status import is_stopped
from appliance.cli.talk import Talk
from appliance.core.errors import CannotStart, ModelError
from appliance.embedded import lifecycle
from appliance.embedded.lifecycle import Wishes
from appliance.embedded.manager import NAME as MANAGER
from appliance.embedded.places import Home
from appliance.embedded.processes import read_record

QUESTION = "Say hello."


def up(
    agents: Annotated[int | None, typer.Option(min=1, max=50, help="How many agents, the first time.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the gateway.")] = None,
    claude: Annotated[bool | None, typer.Option(help="Use Claude as fallback; it costs money.")] = None,
    runtime: Annotated[str, typer.Option(help="Only `embedded` so far.")] = "embedded",
    home: HomeOption = HOME,
) -> None:
    """Start everything that does not run yet; safe to repeat."""
    if runtime != "embedded":
        raise typer.BadParameter("only `embedded` (processes, without Docker) exists so far", param_hint="--runtime")
    began = time.monotonic()
    look: dict[str, Any] = json.loads(os.environ.pop("NEXUS_LOOK", "{}"))
    _use_found_ollama(look.get("models", {}))
    wishes = Wishes(agents=agents, port=port, claude_allowed=_claude_allowed(claude))
    refuse_frozen_manager(home_at(home))
    with Steps() as steps:
        lifecycle.up(home_at(home), wishes, steps)
        place = Place(home)
        asyncio.run(_obey_desired(place, wishes, steps))
        asyncio.run(_prove(Place(home), steps))
    _say_ready(Place(home), time.monotonic() - began, float(look.get("install_s", 0)))


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


async def _obey_desired(place: Place, wishes: Wishes, steps: Steps) -> None:
    """Write the desired number the first time; afterwards the row decides, so a later `up` never undoes a scaling."""
    async with place.postgres() as postgres:
        await postgres.rows("set_first_desired_agents", agents=place.config.agents, by="nexus up")
        desired = int(await postgres.value("desired_agents"))
    if wishes.agents not in (None, desired):
        steps.say(f"{desired} agents run, as was said the first time; --agents only sets the first number")
    if desired != place.config.agents:
        await asyncio.to_thread(lifecycle.up, place.home, Wishes(agents=desired), steps)


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
    commands = f"  Break  {make('failover-demo', place.home)}        Stop  {make('down', place.home)}"
    out.print(commands, markup=False)


def down(home: HomeOption = HOME) -> None:
    """Stop everything of this home, in order; data stay."""
    place = home_at(home)
    refuse_frozen_manager(place)
    with Steps() as steps:
        stopped = lifecycle.down(place, steps)
    said = f"Stopped {len(stopped)} programs; data stay in {place.root}." if stopped else "Nothing was running."
    out.print(said, markup=False)


def refuse_frozen_manager(home: Home) -> None:
    """Whoever asks a frozen process manager waits for ever."""
    manager = read_record(home.run, MANAGER)
    if manager and manager.alive and is_stopped(manager.pid):
        raise CannotStart(f"The process manager is frozen: type `kill -CONT {manager.pid}`, then the same again.")
