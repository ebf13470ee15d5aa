"""`nexus failover-demo`: ask, kill the primary while it answers, show what the tab saw and how the seat was filled."""

import asyncio
import time

from appliance.cli.common import HOME, HomeOption, Place, make, out
from appliance.cli.history import show_one
from appliance.cli.pause import words_of
from appliance.cli.progress import Patience
from appliance.cli.recorder import Recorder, verdict_of
from appliance.cli.switchover import hand_over
from appliance.cli.talk import Talk
from appliance.core.errors import Conflict, NexusError, StoreAway
from appliance.core.history import Failover, History
from appliance.core.orders import AutomaticFailover
from appliance.core.records import Agent, ClusterView
from appliance.core.registry import Registry
from appliance.core.task_ledger import TaskLedger

QUESTION = "Write a long story about a lighthouse keeper and the sea, with many details."
TOKENS_BEFORE_KILL = 8
BACK_WITHIN_S = 30.0
RECORDED_WITHIN_S = 10.0
_NEWEST = 5
_TOO_LATE = "The answer was complete before its agent could be killed: run it again."


def failover_demo(home: HomeOption = HOME) -> None:
    """Kill the primary while it answers; exit code 1 if anything was lost or doubled."""
    asyncio.run(_demo(Place(home)))


async def _demo(place: Place) -> None:
    with Patience("working") as patience:
        await _refuse_when_paused(place)
        async with place.login() as token, Talk(place.config.url, token) as talk:
            out.print(f"Asking: {QUESTION}", markup=False)
            await talk.ask(QUESTION)
            recorder = Recorder(patience)
            lost = await _watch(place, talk, recorder)
            problems = verdict_of(recorder, await talk.recorded(), await talk.committed())
        _say_verdict(recorder, lost)
        patience.what = "waiting for the record of the failover"
        show_one(await _failover_of(place, lost))
        patience.spoke()
        patience.what = f"waiting until {lost.id} is back"
        await _until_back(place, lost)
    if problems:
        raise NexusError(f"The tab did not see what was committed: {'; '.join(problems)}.")


async def _refuse_when_paused(place: Place) -> None:
    async with place.postgres() as postgres:
        if paused := await AutomaticFailover(postgres).paused():
            way_out = make("resume", place.home)
            raise Conflict(f"{words_of(paused)}: nobody would replace a killed primary. `{way_out}` first.")


async def _watch(place: Place, talk: Talk, recorder: Recorder) -> Agent:
    """Follow the answer to its end, and kill its agent on the way; return the agent as it was.

    Raises:
        NexusError: the answer was complete before anything could be killed.
    """
    lost: Agent | None = None
    target: asyncio.Task[Agent] | None = None
    async for event in talk.events():
        recorder.note(event)
        if target is None and recorder.tokens:
            # Beside the reading: words that arrive meanwhile belong to the time before the kill.
            target = asyncio.create_task(_primary_that_answers(place, talk.turn), name="primary that answers")
        if target and target.done() and lost is None and recorder.tokens >= TOKENS_BEFORE_KILL:
            lost = target.result()
            _kill(place, lost, talk, recorder)
    if target and lost is None:
        await target  # why it was not done says more than that it was too late
    if lost is None:
        raise NexusError(_TOO_LATE)
    return lost


def _kill(place: Place, lost: Agent, talk: Talk, recorder: Recorder) -> None:
    place.runtime.kill(place.home, lost)
    recorder.killed(talk.ms())
    words = f"SIGKILL to keeper and runner of {lost.id}, the primary; from here on milliseconds since the kill"
    out.print(f"\n  {words}", style="bold red")


async def _primary_that_answers(place: Place, turn: str) -> Agent:
    """Return the agent that runs `turn`; if it is not the primary, the seat is handed over to it first."""
    owner = await _owner(place, turn)
    primary = (await _view(place)).primary_id
    if owner.id != primary:
        outcome = await hand_over(place, owner.id)
        why = f"{owner.id} answers and {primary} was primary; so that it is the primary that dies:"
        out.print(f"               {why} {outcome}", markup=False)
    return owner


async def _owner(place: Place, turn: str) -> Agent:
    """Return the agent that runs `turn` at this moment."""
    async with place.postgres() as postgres:
        row = await TaskLedger(postgres, turn_timeout_s=60, max_queued=1).turn(turn)
    owner = next((agent for agent in (await _view(place)).agents if row and agent.boot == row.owner_boot), None)
    if owner is None:
        raise NexusError(_TOO_LATE)
    return owner


async def _view(place: Place) -> ClusterView:
    async with place.redis() as redis:
        return await Registry(redis).view()


async def _failover_of(place: Place, lost: Agent) -> Failover:
    """Wait for the record of the election that replaced `lost`, and for the first turn that went on."""
    deadline = time.monotonic() + RECORDED_WITHIN_S
    async with place.postgres() as postgres:
        while time.monotonic() < deadline:
            for found in await History(postgres).failovers(_NEWEST):
                if str(found.old_boot) == lost.boot and found.served_at and found.first_turn_ms is not None:
                    return found
            await asyncio.sleep(0.1)
    why = make("history", place.home)
    raise NexusError(f"The failover was not recorded within {RECORDED_WITHIN_S:.0f} s: `{why}` shows what was.")


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


def _say_verdict(recorder: Recorder, lost: Agent) -> None:
    same = "NO" if recorder.text_differs else "yes"
    counts = f"events lost {recorder.missed}, events doubled {recorder.doubled}"
    verdict = f"{counts}, text equal to the committed message: {same}"
    out.print(f"  killed {lost.id}: first new words after {recorder.first_new_ms} ms; {verdict}\n")
