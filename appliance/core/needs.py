"""What tasks need and what agents can, in words such as `gpu` (PROTOCOLS 7.5). Pure."""

import re
from collections.abc import Sequence

from appliance.core.errors import BadInput

MOST = 5
GRACE_S = 10.0
"""So long a preference waits for an agent that had what it takes."""
_OF_AGENT = "agent:"
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_NEED = re.compile(rf"{_WORD.pattern}|{_OF_AGENT}[\w.-]{{1,64}}")


def declared(text: str) -> tuple[str, ...]:
    """Return the capabilities that a text names, separated by commas, sorted; ValueError when one cannot be a word."""
    words = sorted({it.strip() for it in text.split(",")} - {""})
    if wrong := [it for it in words if not _WORD.fullmatch(it)]:
        raise ValueError(
            f"{wrong[0][:60]!r} is no capability: write words of up to 40 small letters, digits, dots, dashes and"
            " underscores, separated by commas, for example gpu,web"
        )
    return tuple(words)


def of_agent(agent_id: str) -> str:
    """Return the capability that only this agent has."""
    return _OF_AGENT + agent_id


def checked(needs: Sequence[str]) -> tuple[str, ...]:
    """Return what a task needs, sorted, each once.

    Raises:
        BadInput: one cannot be a capability, or there are too many.
    """
    if wrong := [it for it in needs if not _NEED.fullmatch(it)]:
        raise BadInput(f"{wrong[0][:60]!r} is nothing an agent can have: write a word such as gpu, or agent:agent-2.")
    if len(set(needs)) > MOST:
        raise BadInput(f"A task may need {MOST} capabilities at most, not {len(set(needs))}.")
    return tuple(sorted(set(needs)))
