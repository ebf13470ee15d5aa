"""`nexus chat`: ask from the terminal."""

import asyncio
import json
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
                if event["type"] == "question":
                    await _choose(talk, event)
                    patience.spoke()
    out.print(f"conversation {talk.conversation}", style="dim", markup=False)


async def _choose(talk: Talk, question: dict[str, Any]) -> None:
    """Ask at a terminal; elsewhere say how to answer, and go on waiting."""
    if not sys.stdin.isatty():
        how = f"nexus answer {talk.conversation} {question['id']} {'|'.join(question['choices'])}"
        return out.print(f"Answer it in the chat page, or: {how}", style="yellow", markup=False)
    choice = ""
    while choice not in question["choices"]:
        choice = await asyncio.to_thread(typer.prompt, " or ".join(question["choices"]))
    await talk.answer(question["id"], choice)
    return None


def answer(
    conversation: Annotated[str, typer.Argument(help="The conversation that waits.")],
    question: Annotated[str, typer.Argument(help="The question's id.")],
    choice: Annotated[str, typer.Argument(help="allow or deny; again, happened or skip.")],
    home: HomeOption = HOME,
) -> None:
    """Answer what a turn asks before or after a tool is called."""
    out.print(asyncio.run(_answer(Place(home), conversation, question, choice)), markup=False)


async def _answer(place: Place, conversation: str, question: str, choice: str) -> str:
    async with place.login() as token, Talk(place.config.url, token, conversation) as talk:
        return f"Answered: {await talk.answer(question, choice)}"


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
            case "tool" | "question" | "attempt_restarted" as kind:
                line = {"tool": tool_line, "question": question_line, "attempt_restarted": restart_line}[kind](event)
                out.print(f"\n{line}", style="dim" if kind == "tool" else "yellow", markup=False)
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


def restart_line(event: dict[str, Any]) -> str:
    """Return who goes on with a turn, and why."""
    if event.get("answered"):
        return f"{event['agent']} goes on"
    return f"{taken_over(event)}, {max(0, event['gap_ms']) / 1000:.1f} s"


def tool_line(tool: dict[str, Any]) -> str:
    """Return how a call of a tool stands."""
    given = json.dumps(tool["input"], ensure_ascii=False)
    return f"{tool['name']} {given if tool['state'] == 'running' else ''}: {tool['state']}".replace(" :", ":")


def question_line(question: dict[str, Any]) -> str:
    """Return what a person is asked."""
    given = json.dumps(question["input"], ensure_ascii=False)
    if question["about"] == 0:
        return f"May {question['tool']} be called with {given}?"
    return f"{question['tool']} was cut off while it ran with {given}: it may have happened, or not. What now?"


def taken_over(event: dict[str, Any]) -> str:
    """Return who took over from whom."""
    lost, agent = event.get("from", ""), event["agent"]
    return f"{lost} lost, {agent} took over" if lost and lost != agent else f"{agent} began again"


def facts_of(done: dict[str, Any]) -> str:
    """Return the line under an answer."""
    tokens = f"{done['input_tokens']} in, {done['output_tokens']} out"
    parts = [done["agent"], done["model"], tokens, f"first token {done['ttft_ms']} ms", f"total {done['total_ms']} ms"]
    return " · ".join([*parts, *([done["reason"]] if done["reason"] else [])])
