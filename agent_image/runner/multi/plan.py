"""The plan of a `/multi` message: who does what, and after whom. Pure: text in, checked plan or a clear refusal out.

    /multi Is SQLite enough for us?
    - facts = researcher: What are SQLite's limits?
    - needs = researcher: What does our load look like?
    - critic = reviewer (after facts, needs): Where do the two not fit?

A name in front of `=` may be left out; then the role is the name, numbered when it is taken.
"""

import re

import msgspec

from appliance.core.errors import BadInput

COMMAND = "/multi"
ROLES = {
    "builder": "You build what is asked for, completely and nothing else.",
    "researcher": "You collect facts about what is asked, briefly, and say what is not certain.",
    "reviewer": "You look for mistakes and gaps in what you are given, and name each with its reason.",
    "verifier": "You check whether what you are given is true and complete, and answer yes or no with the reason.",
    "custom": "You do what is asked.",
}
MAX_CHILDREN = 20
MAX_DEPTH = 5
_LINE = re.compile(r"-\s*(?:([\w-]{1,40})\s*=\s*)?(\w+)\s*(?:\(after ([^)]*)\))?\s*:\s*(\S.*)")


class Node(msgspec.Struct, frozen=True):
    """One sub-agent: its name in the plan, its role, what it is to do, and whose results it needs."""

    id: str
    role: str
    goal: str
    after: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """A goal and its sub-agents, in the order they were written."""

    goal: str
    nodes: tuple[Node, ...]

    def ready(self, settled: set[str], begun: set[str]) -> list[Node]:
        """Return the nodes that may begin now: everything they need has settled."""
        return [node for node in self.nodes if node.id not in begun and settled.issuperset(node.after)]


def is_multi(text: str) -> bool:
    """Whether a message asks for sub-agents."""
    return text.split(maxsplit=1)[:1] == [COMMAND]


def parse(text: str) -> Plan:
    """Return the plan of a `/multi` message.

    Raises:
        BadInput: it is none, or not a possible one; the sentence names the line or the sub-agent.
    """
    goal, *lines = text.strip().removeprefix(COMMAND).strip().split("\n")
    if not goal.strip() or goal.lstrip().startswith("-"):
        raise BadInput(f"{COMMAND} needs a goal in its first line: `{COMMAND} Is SQLite enough for us?`")
    nodes: list[Node] = []
    for number, line in enumerate(lines, 2):
        if line.strip():
            nodes.append(_node(number, line.strip(), {node.id for node in nodes}))
    return _checked(Plan(goal.strip(), tuple(nodes)))


def _node(number: int, line: str, taken: set[str]) -> Node:
    found = _LINE.fullmatch(line)
    if not found:
        raise BadInput(f"Line {number} is no sub-agent: write `- researcher: what it is to do`, not `{line[:60]}`.")
    name, role, after, goal = found.groups()
    if role not in ROLES:
        raise BadInput(f"Line {number}: there is no role {role!r}; there are: {', '.join(ROLES)}.")
    if name and name in taken:
        raise BadInput(f"Line {number}: there are two sub-agents called {name!r}.")
    needs = tuple(part.strip() for part in (after or "").split(",") if part.strip())
    return Node(name or _free(role, taken), role, goal.strip(), needs)


def _free(role: str, taken: set[str]) -> str:
    names = (role, *(f"{role}-{number}" for number in range(2, MAX_CHILDREN + 3)))
    return next(name for name in names if name not in taken)


def _checked(plan: Plan) -> Plan:
    """Refuse a plan that cannot be carried out."""
    known = {node.id for node in plan.nodes}
    if not plan.nodes:
        raise BadInput(f"{COMMAND} needs sub-agents, one a line: `- researcher: what it is to do`.")
    if len(plan.nodes) > MAX_CHILDREN:
        raise BadInput(f"{len(plan.nodes)} sub-agents are more than the {MAX_CHILDREN} that one {COMMAND} may have.")
    for node in plan.nodes:
        if unknown := [name for name in node.after if name not in known]:
            raise BadInput(f"{node.id} waits for {unknown[0]!r}, which is not there; there are: {', '.join(known)}.")
    _check_order(plan)
    return plan


def _check_order(plan: Plan) -> None:
    """Refuse circles and chains that are too long, by taking away layer after layer what may begin."""
    settled, layers = set[str](), 0
    while ready := plan.ready(settled, settled):
        settled |= {node.id for node in ready}
        layers += 1
        if layers > MAX_DEPTH:
            deep = ready[-1].id
            raise BadInput(f"{deep} is more than {MAX_DEPTH} steps deep: let fewer sub-agents wait for each other.")
    if left := [node.id for node in plan.nodes if node.id not in settled]:
        raise BadInput(f"{', '.join(left)} wait for each other in a circle: none of them could begin.")
