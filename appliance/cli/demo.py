"""`nexus failover-demo`: ask, kill the agent that answers, show what the tab saw."""

import asyncio
import time

from appliance.cli.common import HOME, HomeOption, Place, make, out
from appliance.cli.progress import Patience
from appliance.cli.recorder import Recorder, verdict_of
from appliance.cli.talk import Talk
from appliance.cli.victim import Victim, kill
from appliance.core.errors import NexusError, StoreAway
from appliance.core.records import Agent, ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.task_ledger import TaskLedger

QUESTION = "Write a long story about a lighthouse keeper and the sea, with many details."
TOKENS_BEFORE_KILL = 8
BACK_WITHIN_S = 30.0
_TOO_LATE = "The answer was complete before its agent could be killed: run it again."


def failover_demo(home: HomeOption = HOME) -> None:
    """Kill the answering agent in mid-answer; exit code 1 if anything was lost or doubled."""
    asyncio.run(_demo(Place(home)))


async def _demo(place: Place) -> None:
    with Patience("working") as patience:
        async with place.login() as token, Talk(place.config.url, token) as talk:
            out.print(f"Asking: {QUESTION}", markup=False)
            await talk.ask(QUESTION)
            recorder = Recorder(patience)
            lost = await _watch(place, talk, recorder)
            problems = verdict_of(recorder, await talk.recorded(), await talk.committed())
        patience.what = f"waiting until {lost.id} is back"
        await _until_back(place, lost)
    _judge(recorder, lost, problems)


async def _watch(place: Place, talk: Talk, recorder: Recorder) -> Agent:
    """Follow the answer to its end, and kill its agent on the way; return the agent as it was.

    Raises:
        NexusError: the answer was complete before anything could be killed.
    """
    lost: Agent | None = None
    async for event in talk.events():
        recorder.note(event)
        if recorder.tokens >= TOKENS_BEFORE_KILL and lost is None:
            lost = await _owner(place, talk.turn)
            kill(Victim.of(place.home, lost))
            recorder.killed(talk.ms())
            words = f"SIGKILL to keeper and runner of {lost.id}; from here on milliseconds since the kill"
            out.print(f"\n  {words}", style="bold red")
    if lost is None:
        raise NexusError(_TOO_LATE)
    return lost


async def _owner(place: Place, turn: str) -> Agent:
    """Return the agent that runs `turn` at this moment."""
    async with place.postgres() as postgres:
        row = await TaskLedger(postgres, turn_timeout_s=60, max_queued=1).turn(turn)
    owner = next((agent for agent in (await _view(place)).agents if row and agent.boot == row.owner_boot), None)
    if owner is None:
        raise NexusError(_TOO_LATE)
    return owner


async def _view(place: Place) -> ClusterView:
    redis = Redis(place.settings)
    try:
        return await Registry(redis).view()
    finally:
        await redis.aclose()


async def _until_back(place: Place, lost: Agent) -> None:
    """Wait until the killed agent serves again, as a new boot, and somebody is primary."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < deadline:
        try:
            view = await _view(place)
        except StoreAway:
            view = None
        agent = view.agent(lost.id) if view else None
        serves = agent and agent.boot != lost.boot and agent.boot_alive and agent.status == "active"
        if view and agent and serves and view.primary_id:
            out.print(f"  {lost.id} is back as {agent.role}", style="dim")
            return
        await asyncio.sleep(0.2)
    why = make("doctor", place.home)
    raise NexusError(f"{lost.id} did not come back within {BACK_WITHIN_S:.0f} s: `{why}` says why.")


def _judge(recorder: Recorder, lost: Agent, problems: list[str]) -> None:
    same = "NO" if recorder.text_differs else "yes"
    counts = f"events lost {recorder.missed}, events doubled {recorder.doubled}"
    verdict = f"{counts}, text equal to the committed message: {same}"
    out.print(f"  killed {lost.id}: first new words after {recorder.first_new_ms} ms; {verdict}")
    if problems:
        raise NexusError(f"The tab did not see what was committed: {'; '.join(problems)}.")
