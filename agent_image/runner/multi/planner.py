"""`/multi?`: a model writes the plan, which is checked like a person's.

Experimental until 18 of 20 recorded plans can be read: `tests/unit/test_planned.py` says how many of 20 imitated ones.
"""

from collections.abc import Awaitable, Callable

from agent_image.runner.llm import ChatMessage
from agent_image.runner.multi.message import PLANNED, Unplanned, read
from agent_image.runner.multi.orchestration import Stopped
from agent_image.runner.multi.plan import MAX_CHILDREN, MAX_DEPTH, ROLES, Plan
from agent_image.runner.multi.planned import read_planned
from appliance.core.errors import BadInput

Ask = Callable[[tuple[ChatMessage, ...]], Awaitable[str]]
"""One journaled model call: a later attempt is given the same text, and so runs the same plan."""
ASKED = "Write the plan."
ASKED_AGAIN = "Write the whole plan again."
_SYSTEM = f"""You split a goal between sub-agents. Answer with one line for each and nothing else:

- NAME = ROLE (after NAME, NAME): what it is to do, complete in itself

ROLE is one of: {", ".join(ROLES)}. Leave the brackets out for who needs nobody's result.
At most {MAX_CHILDREN} sub-agents, and chains of at most {MAX_DEPTH}; two to five are usually enough. An example:

- facts = researcher: Collect the limits of SQLite
- load = researcher: Describe the load of a web shop
- critic = reviewer (after facts, load): Say where the two do not fit"""


async def plan_of(text: str, ask: Ask) -> tuple[Plan, bool]:
    """Return the plan of a message that was accepted, and whether a model wrote it.

    Raises:
        Stopped: a model did, and even after it was told what is wrong it cannot be carried out.
    """
    message = read(text)
    return (message, False) if isinstance(message, Plan) else (await _written(message, ask), True)


async def _written(wish: Unplanned, ask: Ask) -> Plan:
    messages = (ChatMessage("system", _SYSTEM), ChatMessage("user", f"{wish.goal}\n\n{ASKED}"))
    first = await ask(messages)
    try:
        return read_planned(wish, first)
    except BadInput as error:
        wrong = f"{wish.goal}\n\nThis plan cannot be carried out. {error.detail} {ASKED_AGAIN}"
    second = await ask((*messages, ChatMessage("assistant", first), ChatMessage("user", wrong)))
    try:
        return read_planned(wish, second)
    except BadInput as error:
        raise Stopped("The model's plan cannot be carried out.", _shown(second, error.detail)) from None


def _shown(plan: str, why: str) -> str:
    quoted = "\n".join(f"    {line}" for line in plan.strip().split("\n"))
    return (
        f"The model's plan cannot be carried out, also after it was told why. {why}\n\n{quoted}\n\n"
        f"Write the plan yourself (`/multi` instead of `{PLANNED}`), or try a larger model."
    )
