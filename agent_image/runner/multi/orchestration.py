"""Carries out a plan: publishes sub-agents as what they need settles, tells the chat, hands all results on (DESIGN 9).

Everything it knows is in rows: a sub-agent's key is made of the turn, its name and its try, and what all have used is
the sum of theirs. So another agent that takes the turn over finds the same tasks and goes on with what has ended.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from agent_image.runner.llm import ChatMessage
from agent_image.runner.multi.child import Child, after_end
from agent_image.runner.multi.plan import Limits, Plan
from agent_image.runner.multi.sub_agent import KIND, quoted
from agent_image.runner.tasks.board import Board
from appliance.core.errors import Overloaded, StoreAway
from appliance.core.records import Ended, Turn, User
from appliance.core.task_batches import TaskBatches, Wanted
from appliance.core.task_ledger import TaskLedger

LOOK_S = 0.5
CUT_WAIT_S = 5.0
"""What runs when a limit is reached may take this long to end; agents read the flag each second."""
SYSTEM = "Several sub-agents worked on a question. Answer it from their results; say what they disagree about."
EXPERIMENTAL = "planned by a model (experimental)"
HELD = "waiting to begin the next: too many of your tasks wait already"


class Say(Protocol):
    """Tells the chat of an event."""

    def __call__(self, kind: str, **data: Any) -> None:
        """Never waits."""


class Stopped(Exception):
    """A `/multi` ends without an answer: `text` stands in its place, `reason` is the sentence for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """What every orchestration of a runner needs."""

    board: Board
    batches: TaskBatches
    ledger: TaskLedger
    limits: Limits
    """What a message may lower and not raise."""


class Orchestration:
    """One `/multi` turn, in one attempt; `planned`: a model wrote its plan."""

    def __init__(self, turn: Turn, plan: Plan, team: Team, say: Say, *, planned: bool = False) -> None:
        self._turn = turn
        self._plan = plan
        self._team = team
        self._say = say
        self._planned = planned
        self._limits = team.limits.within(plan.limits)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.children = {node.id: Child(node) for node in self._plan.nodes}
        self.cut = ""
        """Which limit ended it early; '' when none did."""
        self._cut_at = 0.0
        self._held_at: float | None = None
        """Since when whoever may begin has been refused: too many tasks of this person wait."""
        self._waiting: dict[asyncio.Task[dict[str, Ended]], Child] = {}

    async def results(self) -> tuple[ChatMessage, ...]:
        """Return what the model is told for the final answer, once every sub-agent has ended, well or not.

        Raises:
            Stopped: one failed whose plan says so. StoreAway: call it again; nothing is begun twice.
        """
        self._begin_anew()
        self._say("plan", goal=self._plan.goal, note=self.note, children=[it.facts() for it in self.children.values()])
        watching = asyncio.create_task(self._watch(), name=f"children of {self._turn.id}")
        try:
            await self._take_up()
            while self._stop_or_go_on() and self._open():
                await self._begin_or_cut()
                await self._wait()
        finally:
            for pending in (watching, *self._waiting):
                pending.cancel()
        return self._synthesis()

    @property
    def note(self) -> str:
        """What the page says of the whole, above its tree."""
        limits = [f"{self._limits.tokens:,} tokens"] if self._limits.tokens else []
        limits += [f"{self._limits.seconds:,} s"] if self._limits.seconds else []
        parts = [EXPERIMENTAL] if self._planned else []
        parts += [f"limits: {', '.join(limits)}"] if limits else []
        parts += [HELD] if self._held_at is not None and not self.cut else []
        parts += [f"ended early: {self.cut}"] if self.cut else []
        return " · ".join(parts)

    def kept(self) -> dict[str, Any]:
        """Return what the answer's row keeps of it."""
        return {"children": [child.kept() for child in self.children.values()], "team_note": self.note}

    def _open(self) -> list[Child]:
        return [child for child in self.children.values() if not child.ended]

    def _ready(self) -> list[Child]:
        """Return who may begin now."""
        begun = {id_ for id_, child in self.children.items() if child.task or child.ended}
        settled = {id_ for id_, child in self.children.items() if child.ended}
        return [self.children[node.id] for node in self._plan.ready(settled, begun)]

    async def _take_up(self) -> None:
        """Go to where an earlier attempt came: with what has ended, before anything is judged or begun."""
        team = await self._team.ledger.team_of(self._turn.id)
        begun = team.tasks
        while known := [(child, begun[key]) for child in self._ready() if (key := self._key(child)) in begun]:
            ended = await self._team.batches.ended([task for _, task in known])
            for child, task in known:
                self._begun(child, task, ended.get(task))
        why = self._limits.used_up(team.tokens, team.seconds)
        if why and any(child.state == "cancelled" for child in self.children.values()):
            await self._cut(why)  # as the earlier attempt did: what it cancelled is no failure

    async def _begin_or_cut(self) -> None:
        """Publish whoever may begin; or end it all when a limit is used up."""
        if not self.cut:
            team = await self._team.ledger.team_of(self._turn.id)
            if why := self._limits.used_up(team.tokens, max(team.seconds, self._held_s)):
                return await self._cut(why)
            await self._begin(self._ready())
        elif time.monotonic() > self._cut_at + CUT_WAIT_S:
            self._close(self._open(), self.cut)
        return None

    async def _begin(self, ready: list[Child]) -> None:
        """Publish these. While too many tasks of their person wait that is said and tried again, up to a limit."""
        try:
            tasks = await self._publish(ready)
        except Overloaded:
            if self._held_at is None:
                self._held_at = time.monotonic()
                self._say("limit", note=self.note)
            return
        if self._held_at is not None:
            self._held_at = None
            self._say("limit", note=self.note)
        for child, task in zip(ready, tasks, strict=True):
            self._begun(child, task, None)

    @property
    def _held_s(self) -> float:
        """Seconds it has been held up; the rows count none while nothing has been published."""
        return 0.0 if self._held_at is None else time.monotonic() - self._held_at

    async def _cut(self, why: str) -> None:
        """Begin nothing more, and end what runs."""
        await self._team.batches.cancel_children(self._turn.id)
        self.cut, self._cut_at = why, time.monotonic()
        self._say("limit", note=self.note)
        self._close([child for child in self._open() if not child.task], why)

    def _close(self, children: list[Child], why: str) -> None:
        for child in children:
            child.close(why)
            self._say("child", **child.facts())

    def _begun(self, child: Child, task: str, ended: Ended | None) -> None:
        child.task, child.state = task, "queued"
        if ended is not None:
            return self._settled(child, ended)
        self._say("child", **child.facts())
        self._waiting[asyncio.create_task(self._team.board.results([task]))] = child
        return None

    async def _publish(self, ready: list[Child]) -> tuple[str, ...]:
        if not ready:
            return ()
        turn = self._turn
        user = User(id=turn.user_id, name="", tenant_id=turn.tenant_id)
        wanted = [
            Wanted(KIND, self._payload(child), "high", key=self._key(child), needs=child.node.needs) for child in ready
        ]
        return await self._team.board.publish(user, wanted, parent=turn.id, conversation=turn.conversation_id)

    def _key(self, child: Child) -> str:
        return f"{self._turn.id}:{child.key}"

    def _payload(self, child: Child) -> dict[str, Any]:
        node = child.node
        inputs = {name: self.children[name].found() for name in node.after}
        return {"role": node.role, "goal": node.goal, "question": self._plan.goal, "inputs": inputs}

    async def _wait(self) -> None:
        """Return when one has ended, or when it is time to look at the limits."""
        if not self._waiting:
            return await asyncio.sleep(LOOK_S if self._held_at is not None else 0)
        done, _ = await asyncio.wait(self._waiting, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self._settled(self._waiting.pop(task), next(iter(task.result().values())))
        return None

    def _settled(self, child: Child, ended: Ended) -> None:
        child.settle(ended)
        if after_end(child, cut=bool(self.cut)) == "again":
            child.begin_again()
        self._say("child", **child.facts())

    def _stop_or_go_on(self) -> bool:
        """Raise Stopped when one has failed without which there is to be no answer; who merely was cancelled last."""
        ended = [child for child in self.children.values() if child.ended]
        for child in sorted(ended, key=lambda it: it.state == "cancelled"):
            if after_end(child, cut=bool(self.cut)) == "stop":
                self._close(self._open(), f"{child.node.id} failed")
                reason = f"{child.node.id} failed, and the plan stops without it: {child.reason}"
                raise Stopped(reason, f"{reason}\n")
        return True

    async def _watch(self) -> None:
        """Show who works on what, as the rows say it."""
        while True:
            by_task = {child.task: child for child in self.children.values() if child.task}
            with suppress(StoreAway):
                for id_, now in (await self._team.batches.progress(self._turn.id)).items():
                    if (child := by_task.get(id_)) and child.task == id_ and child.shows(now):
                        self._say("child", **child.facts())
            await asyncio.sleep(LOOK_S)

    def _synthesis(self) -> tuple[ChatMessage, ...]:
        parts = "".join(quoted(child.node.id, child.found()) for child in self.children.values())
        early = f"\n\nNot every sub-agent worked to its end: {self.cut}." if self.cut else ""
        return ChatMessage("system", SYSTEM), ChatMessage("user", f"{self._plan.goal}{early}{parts}")
