"""`nexus chat`: ask from the terminal."""

import asyncio
import sys
from typing import Annotated, Any

import typer

from appliance.cli.common import HOME, HomeOption, Place, out
from appliance.cli.failures import LOOK_CLOSER
from appliance.cli.progress import Patience
from appliance.cli.talk import Talk
from appliance.core.errors import BadInput, ModelError


def chat(
    message: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    conversation: Annotated[str, typer.Option(help="Go on in this conversation.")] = "",
    home: HomeOption = HOME,
) -> None:
    """Ask, and watch the answer arrive."""
    asyncio.run(_chat(Place(home), text_of(message), conversation))


def text_of(message: str) -> str:
    """Return what to ask, read from standard input for `-`; BadInput when it is empty or not UTF-8."""
    raw = sys.stdin.buffer.read() if message == "-" else message.encode(errors="surrogateescape")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadInput("The message is not UTF-8: save it as UTF-8 and send it again.") from None
    if not text.strip():
        raise BadInput('The message is empty; write one: make chat MSG="Name three primary colours."')
    return text


async def _chat(place: Place, text: str, conversation: str) -> None:
    with Patience("waiting for the answer") as patience:
        async with place.login() as token, Talk(place.config.url, token, conversation) as talk:
            await talk.ask(text)
            printer = Printer()
            async for event in talk.events():
                if event["type"] not in ("lost", "connected"):
                    patience.spoke()
                printer.show(event)
    out.print(f"conversation {talk.conversation}", style="dim", markup=False)


class Printer:
    """Shows a turn's events as they come."""

    def __init__(self) -> None:
        self._attempt = 0

    def show(self, event: dict[str, Any]) -> None:
        """Show one event; ModelError when the turn failed."""
        if event.get("attempt", self._attempt) < self._attempt:
            return
        self._attempt = event.get("attempt", self._attempt)
        match event["type"]:
            case "token":
                out.print(event["text"], end="", markup=False)
            case "attempt_restarted":
                gap = max(0, event["gap_ms"]) / 1000
                out.print(f"\n{taken_over(event)}, {gap:.1f} s", style="yellow")
            case "snapshot" if event.get("text"):
                out.print(f"\n{event['text']}", end="", markup=False)
            case "retrying":
                out.print(f"\n{event['reason']} Trying again in {event['delay_s']:g} s", style="yellow", markup=False)
            case "waiting_for_store":
                out.print(f"\nWaiting for {event['store']}: the question is kept ({LOOK_CLOSER})", style="yellow")
            case "accepted" if event["queued"]:
                out.print("Waiting for a free slot…", style="dim")
            case "done":
                out.print(f"\n{facts_of(event)}", style="dim", markup=False)
            case "cancelled":
                out.print("\nStopped.", style="yellow")
            case "failed":
                raise ModelError(event["reason"])


def taken_over(event: dict[str, Any]) -> str:
    """Return who took over from whom."""
    lost, agent = event.get("from", ""), event["agent"]
    return f"{lost} lost, {agent} took over" if lost and lost != agent else f"{agent} began again"


def facts_of(done: dict[str, Any]) -> str:
    """Return the line under an answer."""
    tokens = f"{done['input_tokens']} in, {done['output_tokens']} out"
    parts = [done["agent"], done["model"], tokens, f"first token {done['ttft_ms']} ms", f"total {done['total_ms']} ms"]
    return " · ".join([*parts, *([done["reason"]] if done["reason"] else [])])
