"""The tool `spawn_sub_agent`: a part of a turn's work for any agent of the cluster (DESIGN 12)."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from agent_image.runner.multi.sub_agent import KIND
from agent_image.runner.tasks.board import Board
from agent_image.runner.tools import Call, Tool, ToolFailed, make
from appliance.core import needs as words
from appliance.core.errors import BadInput, Overloaded
from appliance.core.records import TaskState
from appliance.core.task_batches import Wanted

Role = Literal["builder", "researcher", "reviewer", "verifier", "custom"]


def spawner(board: Board, *, within_s: float) -> Tool:
    """Return the tool; called again with the same key it waits for the same sub-agent."""

    async def spawn_sub_agent(
        call: Call, role: Role, goal: Annotated[str, Meta(description="what it is to do, with all it has to know")],
        needs: Annotated[tuple[str, ...], Meta(description="capabilities its agent must have; mostly none")] = (),
    ) -> str:  # fmt: skip
        """Give a part of the work to a sub-agent, which may run on another agent, and wait for its result."""
        payload = {"role": role, "goal": goal, "question": "", "inputs": {}}
        wanted = Wanted(KIND, payload, "high", key=call.key, needs=_checked(needs))
        try:
            (task,) = await board.publish(call.user, [wanted], parent=call.task, conversation=call.conversation)
        except Overloaded as error:
            raise ToolFailed(error.detail) from None
        ended = (await board.results([task]))[task]
        if ended.state is not TaskState.DONE or ended.result is None:
            raise ToolFailed(ended.reason or f"the sub-agent ended {ended.state.value}")
        return str(ended.result["text"])

    return make(spawn_sub_agent, "idempotent", limit_s=within_s)


def _checked(needs: Sequence[str]) -> tuple[str, ...]:
    try:
        return words.checked(needs)
    except BadInput as error:
        raise ToolFailed(error.detail) from None
