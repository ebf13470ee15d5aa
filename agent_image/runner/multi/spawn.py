"""The tool `spawn_sub_agent`: a part of a turn's work for any agent of the cluster (DESIGN 12)."""

from typing import Annotated, Literal

from msgspec import Meta

from agent_image.runner.multi.sub_agent import KIND
from agent_image.runner.tasks.board import Board
from agent_image.runner.tools import Call, Tool, ToolFailed, make
from appliance.core.records import TaskState
from appliance.core.task_batches import Wanted

Role = Literal["builder", "researcher", "reviewer", "verifier", "custom"]


def spawner(board: Board, *, within_s: float) -> Tool:
    """Return the tool; called again with the same key it waits for the same sub-agent."""

    async def spawn_sub_agent(
        call: Call, role: Role, goal: Annotated[str, Meta(description="what it is to do, with all it has to know")]
    ) -> str:
        """Give a part of the work to a sub-agent, which may run on another agent, and wait for its result."""
        wanted = Wanted(KIND, {"role": role, "goal": goal, "question": "", "inputs": {}}, "high", key=call.key)
        (task,) = await board.publish(call.user, [wanted], parent=call.task, conversation=call.conversation)
        ended = (await board.results([task]))[task]
        if ended.state is not TaskState.DONE or ended.result is None:
            raise ToolFailed(ended.reason or f"the sub-agent ended {ended.state.value}")
        return str(ended.result["text"])

    return make(spawn_sub_agent, "idempotent", limit_s=within_s)
