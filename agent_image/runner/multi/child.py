"""A sub-agent as the chat shows it, and what its plan makes of its end. Pure."""

from typing import Any, Literal

import msgspec

from agent_image.runner.multi.plan import Node
from appliance.core.records import Ended, TaskState
from appliance.core.task_batches import Progress

KEPT = 2000
"""Characters of a sub-agent's result that the answer's row keeps for the page."""
MAX_TRIES = 2
"""Whole tasks that a sub-agent whose plan says `retry` is given."""
SKIPPED = "skipped"
"""State of one that was never begun."""
SHOWN = ("state", "agent", "seconds", "tokens", "text", "reason", "earlier")
Next = Literal["go on", "again", "stop"]


class Child(msgspec.Struct):
    """How one stands."""

    node: Node
    task: str = ""
    state: str = "waiting"
    agent: str = ""
    model: str = ""
    seconds: float = 0.0
    tokens: int = 0
    text: str = ""
    reason: str = ""
    earlier: list[dict[str, Any]] = []
    """Tries that failed for good before this one: state, agent, seconds, reason."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state == SKIPPED or TaskState(self.state).ended

    @property
    def key(self) -> str:
        """What tells its task from all others of its turn."""
        return f"{self.node.id}:{len(self.earlier) + 1}"

    def facts(self) -> dict[str, Any]:
        """Return what an event tells of it."""
        node = self.node
        about = {"id": node.id, "role": node.role, "goal": node.goal, "after": node.after}
        return about | {"on_failure": node.on_failure} | {name: getattr(self, name) for name in SHOWN}

    def kept(self) -> dict[str, Any]:
        """Return what the answer's row keeps of it: the beginning of its text; its task's row has all."""
        return self.facts() | {"text": self.text[:KEPT]}

    def found(self) -> str:
        """Return what others are told that it found."""
        return self.text or f"(none: {self.reason})"

    def settle(self, ended: Ended) -> None:
        """Take over how its task ended."""
        result = ended.result or {}
        self.state, self.reason, self.seconds = ended.state.value, ended.reason, round(ended.seconds, 1)
        self.text, self.tokens = result.get("text", ""), result.get("tokens", 0)
        self.agent, self.model = result.get("agent", self.agent), result.get("model", "")

    def shows(self, now: Progress) -> bool:
        """Take over what its row says; whether the page would see a difference."""
        if self.ended or now.state.ended:  # its result is shown, or about to be read
            return False
        self.seconds = round(now.seconds, 1)
        if (self.state, self.agent) == (now.state.value, now.agent):
            return False
        self.state, self.agent = now.state.value, now.agent
        return True

    def begin_again(self) -> None:
        """Put this try aside: the next one begins from nothing."""
        tried = {"state": self.state, "agent": self.agent, "seconds": self.seconds, "reason": self.reason}
        self.earlier = [*self.earlier, tried]
        self.task, self.state, self.agent, self.seconds, self.reason = "", "waiting", "", 0.0, ""

    def close(self, why: str) -> None:
        """Nothing more is to come of it: it was cancelled, or will not be begun."""
        self.state, self.reason = ("cancelled", why) if self.task else (SKIPPED, f"not begun: {why}")


def after_end(child: Child, *, cut: bool) -> Next:
    """Return what the plan says now that this one has ended; `cut`: the whole is at its limit and begins nothing.

    Who was cancelled was so by a person or by a limit: that is not tried again. What a limit cancels stops nothing.
    """
    if child.state in (TaskState.DONE, SKIPPED):
        return "go on"
    failed = child.state != TaskState.CANCELLED
    if child.node.on_failure == "stop" and (failed or not cut):
        return "stop"
    may_again = failed and not cut and len(child.earlier) + 1 < MAX_TRIES
    return "again" if child.node.on_failure == "retry" and may_again else "go on"
