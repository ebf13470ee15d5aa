"""A plan written as a YAML document. Pure.

goal: Is SQLite enough for us?
limits: {tokens: 20000, seconds: 300}
agents:
  - {id: facts, role: researcher, goal: List the limits of SQLite, on_failure: retry}
  - {role: reviewer, goal: Say what is missing, after: facts}
  - {role: builder, goal: Measure it, needs: gpu}
"""

import re
from typing import Any

import msgspec
import yaml

from agent_image.runner.multi.plan import Limits, Node, Plan, checked, node_of
from appliance.core.errors import BadInput

MAX_CHARS = 20_000
"""YAML is read at about 100,000 characters a second, and meanwhile nothing else runs here."""
_BEGINS = re.compile(r"(---|\{|(goal|agents|limits)\s*:)")


class Agent(msgspec.Struct, forbid_unknown_fields=True):
    """One sub-agent as it is written."""

    role: str
    goal: str
    id: str = ""
    after: str | list[str] = []
    on_failure: str = "continue"
    needs: str | list[str] = []


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The whole."""

    goal: str
    agents: list[Any]
    limits: dict[str, int] = {}


def is_document(text: str) -> bool:
    """Whether this begins as a YAML document does."""
    return bool(_BEGINS.match(text.lstrip()))


def read_document(text: str) -> Plan:
    """Return the plan of a document.

    Raises:
        BadInput: it is none, or not a possible one; the sentence names the line or the sub-agent.
    """
    if len(text) > MAX_CHARS:
        raise BadInput(f"A plan in YAML has at most {MAX_CHARS:,} characters; this one has {len(text):,}.")
    try:
        written = msgspec.convert(_loaded(text), Document, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"The plan needs `goal` and `agents`: {error}.") from None
    if not written.goal.strip():
        raise BadInput("The plan's `goal` is empty: write what is to be found out or made.")
    nodes: list[Node] = []
    for number, agent in enumerate(written.agents, 1):
        nodes.append(_node(number, agent, {node.id for node in nodes}))
    return checked(Plan(written.goal.strip(), tuple(nodes), _limits(written.limits)))


def _loaded(text: str) -> Any:
    """Read with the loader that makes nothing but strings, lists and dicts: no dates, no merge keys, `id: 1` is '1'."""
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it makes less than the safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"Line {mark.line + 1} of the YAML" if mark else "The YAML"
        raise BadInput(f"{where} cannot be read: {getattr(error, 'problem', None) or error}.") from None
    except RecursionError:
        raise BadInput("The YAML is nested too deeply: a plan has `goal`, `agents` and `limits`.") from None


def _node(number: int, written: Any, taken: set[str]) -> Node:
    name = written.get("id") if isinstance(written, dict) else None
    where = f"Agent {number} ({name})" if isinstance(name, str) and name else f"Agent {number}"
    try:
        agent = msgspec.convert(written, Agent)
    except msgspec.ValidationError as error:
        raise BadInput(f"{where}: {error}.") from None
    if not agent.goal.strip():
        raise BadInput(f"{where}: its `goal` is empty: write what it is to do.")
    return node_of(
        where, agent.id.strip(), agent.role, agent.goal, after=_listed(agent.after), on_failure=agent.on_failure,
        taken=taken, needs=_listed(agent.needs),
    )  # fmt: skip


def _listed(written: str | list[str]) -> list[str]:
    parts = written.split(",") if isinstance(written, str) else written
    return [it.strip() for it in parts if it.strip()]


def _limits(written: dict[str, int]) -> Limits:
    for name, number in written.items():
        if name not in Limits.__struct_fields__ or not 0 < number < 10**9:
            raise BadInput(f"`limits` has `tokens` and `seconds`, numbers from 1 on, not `{name[:60]}: {number}`.")
    return Limits(**written)
