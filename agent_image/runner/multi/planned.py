"""A plan as a model writes it, read with patience: it is asked for lines and decorates them. Pure.

Nothing is guessed and nothing left out: a line with a bullet is a sub-agent, or the plan is refused; the rest is talk.
"""

import re

from agent_image.runner.multi.lines import read_lines
from agent_image.runner.multi.message import Unplanned
from agent_image.runner.multi.plan import POLICIES, ROLES, Plan
from appliance.core.errors import BadInput

_MARKS = re.compile(r"\*\*|__|`|(?<!\w)\*(?=\w)|(?<=[\w):])\*(?!\w)")
"""Bold, italics and code, as Markdown puts them around names."""
_BULLET = re.compile(r"\s*(?:[-*+•\u2013\u2014]|\(?\d{1,2}[.)])\s+")
_HEAD = re.compile(rf"(?:([\w -]{{1,40}}?)\s*[=:]\s*)?({'|'.join(ROLES)})\b\s*(.*)", re.IGNORECASE)
_BRACKETS = re.compile(r"\s*[(\[]([^)\]]*)[)\]]\s*")
_BEHIND = re.compile(r"(.*?)\s*[(\[]((?:after|depends on|needs)\b[^)\]]*)[)\]]\.?", re.IGNORECASE)
_AFTER = re.compile(r"(?:after|depends[ _]on|needs|waits for)\b[:=]?\s*(.*)", re.IGNORECASE)
_OR = re.compile(rf"(?:or|on[ _]failure)\b\s*[:=]?\s*({'|'.join(POLICIES)})\b.*", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*(?:,\s*and\b|,|&|\band\b|\+)\s*", re.IGNORECASE)
_GOAL = re.compile(r"\s*(?:[:\u2013\u2014]|->|-)\s*(\S.*)")
_NOBODY = ("", "none", "nothing", "nobody", "-")


def read_planned(wish: Unplanned, text: str) -> Plan:
    """Return the plan in what a model wrote for a wish; its limits are the wish's.

    Raises:
        BadInput: there is none, or it is not a possible one; the sentence names the line or the sub-agent.
    """
    lines = [line for written in text.split("\n") if (line := _line(written))]
    plan = read_lines("\n".join(["goal", *lines]))
    return Plan(wish.goal, plan.nodes, wish.limits)


def _line(written: str) -> str:
    """Return a line as a person would write it, or '' when it is talk."""
    bullet = _BULLET.match(written)
    said = _MARKS.sub("", written[bullet.end() :] if bullet else written).strip()
    found = _HEAD.fullmatch(said)
    if not found or not (bullet or found[1]):
        return f"- {said}" if bullet and said else ""
    name, role, rest = _name(found[1] or ""), found[2].lower(), found[3]
    brackets = ""
    while (some := _BRACKETS.match(rest)) is not None:
        brackets, rest = f"{brackets};{some[1]}", rest[some.end() :]
    goal = _GOAL.fullmatch(rest)
    if goal is None:
        return f"- {said}"
    task = goal[1]
    if not brackets and (behind := _BEHIND.fullmatch(task)):
        task, brackets = behind.groups()
    return f"- {f'{name} = ' if name else ''}{role}{_clauses(brackets)}: {task}"


def _clauses(brackets: str) -> str:
    """Return what stood in brackets as a person would write it."""
    after: list[str] = []
    policy = ""
    for clause in map(str.strip, re.split(r";|,\s*(?=(?:or|on[ _]failure)\b)", brackets)):
        if chosen := _OR.fullmatch(clause):
            policy = chosen[1].lower()
        elif needs := _AFTER.fullmatch(clause):
            after += [_name(it) for it in _BETWEEN.split(needs[1]) if it.strip().lower() not in _NOBODY]
        elif clause:
            raise BadInput(f"Brackets hold `after NAMES` or `or retry`, not `{clause[:60]}`.")
    parts = [f"after {', '.join(after)}"] if after else []
    parts += [f"or {policy}"] if policy else []
    return f" ({'; '.join(parts)})" if parts else ""


def _name(written: str) -> str:
    """Return a name as one word."""
    return re.sub(r"\s+", "-", written.strip().strip("\"'"))
