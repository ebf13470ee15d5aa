"""A `/multi` message: its plan, as lines or as YAML, or the wish that a model makes one. Pure."""

import msgspec

from agent_image.runner.multi.document import is_document, read_document
from agent_image.runner.multi.lines import read_limits, read_lines
from agent_image.runner.multi.plan import Limits, Plan
from appliance.core.errors import BadInput

COMMAND = "/multi"
PLANNED = "/multi?"


class Unplanned(msgspec.Struct, frozen=True):
    """A goal for which a model is to write the plan."""

    goal: str
    limits: Limits


def is_multi(text: str) -> bool:
    """Whether a message asks for sub-agents."""
    return text.split(maxsplit=1)[:1] in ([COMMAND], [PLANNED])


def read(text: str) -> Plan | Unplanned:
    """Return the plan of a `/multi` message, or what a `/multi?` wants planned.

    Raises:
        BadInput: it is none, or not a possible one; the sentence names the line or the sub-agent.
    """
    command, *rest = text.split(maxsplit=1)
    said = "".join(rest).strip()
    if command == PLANNED:
        return _unplanned(said)
    # Behind the command itself stands a goal, so only a text on lines of its own can be a document.
    own_lines = not text.strip().removeprefix(COMMAND).partition("\n")[0].strip()
    return read_document(said) if own_lines and is_document(said) else read_lines(said)


def _unplanned(said: str) -> Unplanned:
    goal: list[str] = []
    limits = Limits()
    for number, line in enumerate(said.split("\n"), 1):
        if line.strip().startswith("limits:"):
            limits = limits.within(read_limits(f"Line {number}", line.strip()))
        else:
            goal.append(line)
    if not (text := "\n".join(goal).strip()):
        raise BadInput(f"{PLANNED} needs a goal: `{PLANNED} Is SQLite enough for us?`")
    return Unplanned(text, limits)
