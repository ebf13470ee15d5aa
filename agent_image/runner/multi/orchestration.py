"""Carries out a plan: publishes sub-agents as what they need settles, tells the chat, hands all results on (DESIGN 9).

Everything it knows is in rows: a sub-agent's key is made of the turn and its name, so another agent that takes the turn
over publishes the same tasks, which are there already, and goes on with what has ended.
"""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from agent_image.runner.llm import ChatMessage
from agent_image.runner.multi.plan import Node, Plan, parse
from agent_image.runner.multi.sub_agent import KIND, quoted
from agent_image.runner.tasks.board import Board
from appliance.core.errors import StoreAway
from appliance.core.records import Ended, TaskState, Turn, User
from appliance.core.task_batches import Progress, TaskBatches, Wanted

LOOK_S = 0.5
KEPT = 2000
"""Characters of a sub-agent's result that the answer's row keeps for the page."""
SYSTEM = "Several sub-agents worked on a question. Answer it from their results; say what they disagree about."


class Say(Protocol):
    """Tells the chat of an event."""

    def __call__(self, kind: str, **data: Any) -> None:
        """Never waits."""


class Child(msgspec.Struct):
    """A sub-agent as the chat shows it."""

    node: Node
    task: str = ""
    state: str = "waiting"
    agent: str = ""
    seconds: float = 0.0
    tokens: int = 0
    text: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether its task has, well or not."""
        return TaskState(self.state).ended

    def facts(self) -> dict[str, Any]:
        """Return what an event and the answer's row keep of it."""
        return {"id": self.node.id, "role": self.node.role, "goal": self.node.goal, "after": self.node.after} | {
            name: getattr(self, name) for name in ("state", "agent", "seconds", "tokens", "text", "reason")
        }


class Orchestration:
    """One `/multi` turn, in one attempt."""

    def __init__(self, turn: Turn, board: Board, batches: TaskBatches, say: Say) -> None:
        self._turn = turn
        self._plan: Plan = parse(turn.text)
        self._board = board
        self._batches = batches
        self._say = say
        self.children: dict[str, Child] = {}

    async def results(self) -> tuple[ChatMessage, ...]:
        """Return what the model is told for the final answer, once every sub-agent has ended, well or not.

        Raises:
            StoreAway: call it again; nothing is begun twice.
        """
        self.children = {node.id: Child(node) for node in self._plan.nodes}
        self._say("plan", goal=self._plan.goal, children=[child.facts() for child in self.children.values()])
        watching = asyncio.create_task(self._watch(), name=f"children of {self._turn.id}")
        waiting: dict[asyncio.Task[dict[str, Ended]], Child] = {}
        try:
            while begun := await self._begin_ready(waiting):
                done, _ = await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._settled(waiting.pop(task), next(iter(task.result().values())))
        finally:
            for pending in (watching, *waiting):
                pending.cancel()
        return self._synthesis()

    def kept(self) -> list[dict[str, Any]]:
        """Return what the answer's row keeps of each sub-agent: the beginning of its text; its task's row has all."""
        return [child.facts() | {"text": child.text[:KEPT]} for child in self.children.values()]

    async def _begin_ready(
        self, waiting: dict[asyncio.Task[dict[str, Ended]], Child]
    ) -> dict[asyncio.Task[dict[str, Ended]], Child]:
        """Publish whoever may begin now; return all that is under way."""
        begun = {id_ for id_, child in self.children.items() if child.task}
        settled = {id_ for id_, child in self.children.items() if child.ended}
        ready = self._plan.ready(settled, begun)
        for node, task in zip(ready, await self._publish(ready), strict=True):
            child = self.children[node.id]
            child.task, child.state = task, "queued"
            self._say("child", **child.facts())
            waiting[asyncio.create_task(self._board.results([task]))] = child
        return waiting

    async def _publish(self, nodes: list[Node]) -> tuple[str, ...]:
        if not nodes:
            return ()
        turn = self._turn
        user = User(id=turn.user_id, name="", tenant_id=turn.tenant_id)
        wanted = [Wanted(KIND, self._payload(node), "high", key=f"{turn.id}:{node.id}") for node in nodes]
        return await self._board.publish(user, wanted, parent=turn.id, conversation=turn.conversation_id)

    def _payload(self, node: Node) -> dict[str, Any]:
        inputs = {name: self.children[name].text or f"(none: {self.children[name].reason})" for name in node.after}
        return {"role": node.role, "goal": node.goal, "question": self._plan.goal, "inputs": inputs}

    def _settled(self, child: Child, ended: Ended) -> None:
        result = ended.result or {}
        child.state, child.reason, child.seconds = ended.state.value, ended.reason, round(ended.seconds, 1)
        child.text, child.tokens = result.get("text", ""), result.get("tokens", 0)
        child.agent = result.get("agent", child.agent)
        self._say("child", **child.facts())

    async def _watch(self) -> None:
        """Show who works on what, as the rows say it."""
        while True:
            by_task = {child.task: child for child in self.children.values() if child.task}
            with suppress(StoreAway):
                for id_, now in (await self._batches.progress(self._turn.id)).items():
                    if (child := by_task.get(id_)) and _shows(child, now):
                        self._say("child", **child.facts())
            await asyncio.sleep(LOOK_S)

    def _synthesis(self) -> tuple[ChatMessage, ...]:
        parts = "".join(
            quoted(child.node.id, child.text or f"(it has none: {child.reason})") for child in self.children.values()
        )
        return ChatMessage("system", SYSTEM), ChatMessage("user", f"{self._plan.goal}{parts}")


def _shows(child: Child, now: Progress) -> bool:
    """Take over what a row says; whether the page would see a difference."""
    child.seconds = round(now.seconds, 1)
    if child.ended or now.state.ended:  # its result is shown, or about to be read
        return False
    if (child.state, child.agent) == (now.state.value, now.agent):
        return False
    child.state, child.agent = now.state.value, now.agent
    return True
