"""What a `/multi` is to do: who does what, after whom, and what if one fails. Pure: checked, or refused by name."""

import re
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from appliance.core import needs as words
from appliance.core.errors import BadInput

OnFailure = Literal["continue", "retry", "stop"]
"""What becomes of a plan when a sub-agent fails for good: the others go on without its result; it is given one more
whole task before that; the turn ends as failed."""
POLICIES: tuple[str, ...] = get_args(OnFailure)
ROLES = {
    "builder": "You build what is asked for, completely and nothing else.",
    "researcher": "You collect facts about what is asked, briefly, and say what is not certain.",
    "reviewer": "You look for mistakes and gaps in what you are given, and name each with its reason.",
    "verifier": "You check whether what you are given is true and complete, and answer yes or no with the reason.",
    "custom": "You do what is asked.",
}
MAX_CHILDREN = 20
MAX_DEPTH = 5
_NAME = re.compile(r"[\w-]{1,40}")


class Node(msgspec.Struct, frozen=True):
    """One sub-agent: its name in the plan, its role, what it is to do, whose results and what of its agent it needs."""

    id: str
    role: str
    goal: str
    after: tuple[str, ...] = ()
    on_failure: OnFailure = "continue"
    needs: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """What all sub-agents together may use: tokens, and seconds since the first was published; 0: no limit."""

    tokens: int = 0
    seconds: int = 0

    def within(self, other: "Limits") -> "Limits":
        """Return the tighter of both."""
        return Limits(_tighter(self.tokens, other.tokens), _tighter(self.seconds, other.seconds))

    def used_up(self, tokens: int, seconds: float) -> str:
        """Return which limit these have reached, for people; '' while there is room."""
        if self.tokens and tokens >= self.tokens:
            return f"its limit of {self.tokens:,} tokens is used up"
        if self.seconds and seconds >= self.seconds:
            return f"its limit of {self.seconds:,} s is used up"
        return ""


class Plan(msgspec.Struct, frozen=True):
    """A goal and its sub-agents, in the order they were written."""

    goal: str
    nodes: tuple[Node, ...]
    limits: Limits = Limits()

    def ready(self, settled: set[str], begun: set[str]) -> list[Node]:
        """Return the nodes that may begin now: everything they need has settled."""
        return [node for node in self.nodes if node.id not in begun and settled.issuperset(node.after)]


def node_of(
    where: str, name: str, role: str, goal: str, *, after: Sequence[str], on_failure: str, taken: set[str],
    needs: Sequence[str] = (),
) -> Node:  # fmt: skip
    """Return one sub-agent; without a name it is called after its role.

    Raises:
        BadInput: it cannot be one; the sentence begins with `where` it was written.
    """
    if name and not _NAME.fullmatch(name):
        raise BadInput(f"{where}: a name has up to 40 letters, digits, `_` or `-`, unlike {name[:60]!r}.")
    if role not in ROLES:
        raise BadInput(f"{where}: there is no role {role!r}; there are: {', '.join(ROLES)}.")
    if name and name in taken:
        raise BadInput(f"{where}: there are two sub-agents called {name!r}.")
    can = _needed(where, needs)
    for policy in get_args(OnFailure):
        if policy == on_failure:
            return Node(name or _free(role, taken), role, goal.strip(), tuple(after), policy, can)
    raise BadInput(f"{where}: a sub-agent that fails may {', '.join(POLICIES)}, not {on_failure!r}.")


def checked(plan: Plan) -> Plan:
    """Return a plan that can be carried out.

    Raises:
        BadInput: it cannot be; the sentence names the sub-agent.
    """
    known = {node.id for node in plan.nodes}
    if not plan.nodes:
        raise BadInput("/multi needs sub-agents, one a line: `- researcher: what it is to do`.")
    if len(plan.nodes) > MAX_CHILDREN:
        raise BadInput(f"{len(plan.nodes)} sub-agents are more than the {MAX_CHILDREN} that one /multi may have.")
    for node in plan.nodes:
        if unknown := [name for name in node.after if name not in known]:
            raise BadInput(f"{node.id} waits for {unknown[0]!r}, which is not there; there are: {', '.join(known)}.")
        if others := sorted(known.intersection(node.needs)):
            raise BadInput(f"{node.id} needs {others[0]!r}, which is a sub-agent: write `after {others[0]}`.")
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


def _needed(where: str, needs: Sequence[str]) -> tuple[str, ...]:
    try:
        return words.checked(needs)
    except BadInput as error:
        raise BadInput(f"{where}: {error.detail}") from None


def _free(role: str, taken: set[str]) -> str:
    names = (role, *(f"{role}-{number}" for number in range(2, MAX_CHILDREN + 3)))
    return next(name for name in names if name not in taken)


def _tighter(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other
