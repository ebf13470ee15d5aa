"""`nexus failover-demo`: ask, kill the agent that answers, show what the tab saw."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from appliance.cli.chat import taken_over
from appliance.cli.common import HOME, HomeOption, Place, out
from appliance.cli.talk import Talk
from appliance.core.errors import NexusError
from appliance.core.records import Agent, ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.task_ledger import TaskLedger

QUESTION = "Write a long story about a lighthouse keeper and the sea, with many details."
TOKENS_BEFORE_KILL = 8
BACK_WITHIN_S = 30.0


def failover_demo(home: HomeOption = HOME) -> None:
    """Kill the answering agent in mid-answer; exit code 1 if anything was lost or doubled."""
    asyncio.run(_demo(Place(home)))


class Recorder:
    """What the tab saw, in milliseconds since the kill."""

    def __init__(self) -> None:
        self.killed_ms: int | None = None
        self.cursors: list[str] = []
        self.texts: dict[int, str] = {}
        self.first_new_ms: int | None = None

    def note(self, event: dict[str, Any]) -> None:
        """Record an event and print what matters."""
        if cursor := event.get("cursor"):
            self.cursors.append(cursor)
        attempt = event.get("attempt", 0)
        match event["type"]:
            case "token":
                self.texts[attempt] = self.texts.get(attempt, "") + event["text"]
                if self.killed_ms is not None and attempt > 1 and self.first_new_ms is None:
                    self.first_new_ms = event["at_ms"] - self.killed_ms
                    self.say(event, "first new words")
            case "snapshot" if event.get("turn"):
                self.texts[attempt] = event["text"]
            case "lost":
                self.say(event, f"the stream is {event['why']}")
            case "connected":
                self.say(event, "connected")
            case "started":
                self.say(event, f"{event['agent']} begins")
            case "attempt_restarted":
                self.say(event, f"{taken_over(event)} after {max(0, event['gap_ms']) / 1000:.2f} s without an event")
            case "done":
                self.say(event, f"answer complete: {event['length']} characters by {event['agent']}")

    def say(self, event: dict[str, Any], words: str) -> None:
        """Print one line with its time: before the kill since the question, afterwards since the kill."""
        at = event["at_ms"] if self.killed_ms is None else event["at_ms"] - self.killed_ms
        mark = "   " if self.killed_ms is None else " + "
        out.print(f"  {mark}{at:>6} ms  {words}", markup=False)

    @property
    def doubled(self) -> int:
        """Events that came twice."""
        return len(self.cursors) - len(set(self.cursors))


async def _demo(place: Place) -> None:
    async with place.login() as token, Talk(place.config.url, token) as talk:
        out.print(f"Asking: {QUESTION}", markup=False)
        await talk.ask(QUESTION)
        recorder, final = Recorder(), ""
        seen, lost = 0, ""
        async for event in talk.events():
            recorder.note(event)
            seen += event["type"] == "token"
            if seen >= TOKENS_BEFORE_KILL and not lost:
                lost = await _kill_owner(place, talk.turn)
                recorder.killed_ms = talk.ms()
                out.print(
                    f"\n  SIGKILL to keeper and runner of {lost}; from here on milliseconds since the kill",
                    style="bold red",
                )
            final = event["type"]
        same = recorder.texts.get(max(recorder.texts, default=0), "") == await talk.committed()
    await _until_back(place, lost)
    _judge(recorder, final, lost, same=same)


async def _kill_owner(place: Place, turn: str) -> str:
    """SIGKILL keeper and runner of the agent that runs `turn`; return its id."""
    async with place.postgres() as postgres:
        row = await TaskLedger(postgres, turn_timeout_s=60, max_queued=1).turn(turn)
    view = await _view(place)
    owner = next((agent for agent in view.agents if row and agent.boot == row.owner_boot), None)
    if owner is None:
        raise NexusError("The answer was complete before its agent could be killed; run it again.")
    for pid in (owner.keeper_pid, owner.runner_pid):
        _kill_ours(pid)
    return owner.id


def _kill_ours(pid: int) -> None:
    """SIGKILL a process if it is an agent's: a pid alone could be anybody's."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if b"agent_image" not in command:
        raise NexusError(f"Process {pid} is not an agent; nothing was killed.")
    os.kill(pid, signal.SIGKILL)


async def _view(place: Place) -> ClusterView:
    redis = Redis(place.settings)
    try:
        return await Registry(redis).view()
    finally:
        await redis.aclose()


async def _until_back(place: Place, agent_id: str) -> None:
    """Wait until the killed agent serves again."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < deadline:
        agent: Agent | None = (await _view(place)).agent(agent_id)
        if agent and agent.boot_alive and agent.status == "active":
            out.print(f"  {agent_id} is back as {agent.role}", style="dim")
            return
        await asyncio.sleep(0.2)
    raise NexusError(f"{agent_id} did not come back within {BACK_WITHIN_S:.0f} s; `make doctor` says why.")


def _judge(recorder: Recorder, final: str, lost: str, *, same: bool) -> None:
    verdict = f"events doubled {recorder.doubled}, text equal to the committed message: {'yes' if same else 'NO'}"
    out.print(f"  killed {lost}: first new words after {recorder.first_new_ms} ms; {verdict}")
    if final != "done" or recorder.doubled or not same:
        raise NexusError("The tab did not see what was committed.")
