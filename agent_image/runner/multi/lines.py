"""A plan written as lines. Pure.

    Is SQLite enough for us?
    limits: tokens=20000 seconds=300
    - facts = researcher (or retry): What are SQLite's limits?
    - needs = researcher (or stop): What does our load look like?
    - critic = reviewer (after facts, needs): Where do the two not fit?
    - bench = builder (needs gpu): How fast is it on a GPU?

A name in front of `=` may be left out; then the role is the name, numbered when it is taken. `or` says what happens
when the sub-agent fails for good: `continue` without it (so it is when nothing is said), `retry` it, or `stop` it all.
`needs` says what its agent must have.
"""

import re

from agent_image.runner.multi.plan import Limits, Node, Plan, checked, node_of
from appliance.core.errors import BadInput

_LINE = re.compile(r"-\s*(?:([\w-]+)\s*=\s*)?(\w+)\s*(?:\(([^)]*)\))?\s*:\s*(\S.*)")
_CLAUSE = re.compile(r"(after|or|needs)\s+(\S.*)")
_LIMITS = "limits:"


def read_lines(text: str) -> Plan:
    """Return the plan whose first line is the goal.

    Raises:
        BadInput: it is none, or not a possible one; the sentence names the line or the sub-agent.
    """
    goal, *lines = text.strip().split("\n")
    if not goal.strip() or goal.lstrip().startswith("-"):
        raise BadInput("/multi needs a goal in its first line: `/multi Is SQLite enough for us?`")
    nodes: list[Node] = []
    limits = Limits()
    for number, line in enumerate(map(str.strip, lines), 2):
        if line.startswith(_LIMITS):
            limits = limits.within(read_limits(f"Line {number}", line))
        elif line:
            nodes.append(_node(number, line, {node.id for node in nodes}))
    return checked(Plan(goal.strip(), tuple(nodes), limits))


def read_limits(where: str, line: str) -> Limits:
    """Return what a line `limits: tokens=N seconds=N` says; BadInput begins with `where` it stands."""
    found = dict[str, int]()
    for word in line.removeprefix(_LIMITS).replace(",", " ").split():
        name, _, number = word.partition("=")
        if name not in Limits.__struct_fields__ or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
            raise BadInput(f"{where}: write `limits: tokens=20000 seconds=300`, one or both, not `{word[:60]}`.")
        found[name] = int(number)
    return Limits(**found)


def _node(number: int, line: str, taken: set[str]) -> Node:
    where = f"Line {number}"
    found = _LINE.fullmatch(line)
    if not found:
        raise BadInput(f"{where} is no sub-agent: write `- researcher: what it is to do`, not `{line[:60]}`.")
    name, role, brackets, goal = found.groups()
    clauses = _clauses(where, brackets or "")
    return node_of(
        where, name or "", role, goal, after=_names(clauses, "after"), on_failure=clauses.get("or", "continue"),
        taken=taken, needs=_names(clauses, "needs"),
    )  # fmt: skip


def _names(clauses: dict[str, str], name: str) -> list[str]:
    return [part.strip() for part in clauses.get(name, "").split(",") if part.strip()]


def _clauses(where: str, brackets: str) -> dict[str, str]:
    """Return what stands in brackets: `after NAMES`, `or POLICY`, `needs WORDS`, with semicolons between."""
    clauses: dict[str, str] = {}
    for clause in filter(None, map(str.strip, brackets.split(";"))):
        found = _CLAUSE.fullmatch(clause)
        if not found or found[1] in clauses:
            raise BadInput(
                f"{where}: write `(after NAMES)`, `(or retry)`, `(needs gpu)` or `(after NAMES; or stop)`,"
                f" not `({clause})`."
            )
        clauses[found[1]] = found[2]
    return clauses
