"""What happened to a task, moment by moment, from the rows that keep it. Pure.

Nothing is written for it when all goes well: a task's own row, its steps and the audit log tell the rest.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from appliance.core.needs import GRACE_S
from appliance.core.records import TaskState

Kind = Literal[
    "published", "loosened", "told", "claimed", "step", "failed", "released", "asked", "refused", "waits", "ended"
]  # fmt: skip
_ORDER: dict[Kind, int] = {"published": 0, "told": 1, "claimed": 2, "step": 3, "refused": 4, "ended": 6, "waits": 7}
_LOOSENED = f"for {GRACE_S:g} s nobody has had what it preferred"


class Moment(msgspec.Struct, frozen=True):
    """One thing that happened, in words without a full stop."""

    at: datetime
    kind: Kind
    what: str
    attempt: int = 0
    """0: it belongs to none."""
    agent: str = ""
    why: str = ""


class Life(msgspec.Struct, frozen=True):
    """What the task's own row keeps of its life."""

    task: UUID
    kind: str
    state: TaskState
    attempt: int
    reason: str
    created_at: datetime
    claimed_at: datetime | None
    dispatched_at: datetime | None
    due_at: datetime
    state_at: datetime
    cancel_requested_at: datetime | None
    person: str
    agent: str
    """Who runs it, or let go of it last."""
    needs: tuple[str, ...] = ()
    loosened_at: datetime | None = None
    """When its preference was given up, since nobody could serve it."""
    no_agent: str = ""
    """Why nobody runs it while it waits."""


class Attempt(msgspec.Struct, frozen=True):
    """An attempt after which the task went on, waits or is dead."""

    task: UUID
    attempt: int
    agent: str
    claimed_at: datetime
    ended_at: datetime
    became: TaskState
    failed: bool
    reason: str
    death: str | None
    """What its agent's boot died of; None: it lives."""


class StepDone(msgspec.Struct, frozen=True):
    """A journaled call; a number below zero belongs to a payload that was edited since."""

    task: UUID
    no: int
    kind: str
    name: str
    state: str
    attempt: int
    tokens: int
    started_at: datetime
    finished_at: datetime | None


class Asked(msgspec.Struct, frozen=True):
    """What an operator asked, from the audit log."""

    task: str
    at: datetime
    actor: str
    action: str
    note: str


class Refused(msgspec.Struct, frozen=True):
    """A write that came too late: the task was another attempt's by then."""

    task: UUID
    at: datetime
    what: str
    attempt: int | None
    agent: str


class Rows(msgspec.Struct, frozen=True):
    """All that is kept of one task."""

    life: Life
    attempts: tuple[Attempt, ...] = ()
    steps: tuple[StepDone, ...] = ()
    asked: tuple[Asked, ...] = ()
    refused: tuple[Refused, ...] = ()


def timeline(rows: Rows) -> tuple[Moment, ...]:
    """Return what happened, in order."""
    life = rows.life
    wish = f", for an agent that has {', '.join(life.needs)}" if life.needs else ""
    moments = [Moment(life.created_at, "published", f"published by {life.person}{wish}")]
    if life.loosened_at:
        moments.append(Moment(life.loosened_at, "loosened", "any agent may run it from now on", why=_LOOSENED))
    for attempt in rows.attempts:
        moments += _attempt(attempt)
    moments += _now(rows)
    moments += [_step(step) for step in rows.steps]
    moments += [Moment(it.at, "asked", f"{it.actor}: {it.action}", why=it.note) for it in rows.asked]
    moments += [
        Moment(it.at, "refused", f"a late write was refused ({it.what})", it.attempt or 0, it.agent)
        for it in rows.refused
    ]
    return tuple(sorted(moments, key=lambda it: (it.at, _ORDER.get(it.kind, 5))))


def _attempt(it: Attempt) -> Iterable[Moment]:
    yield _claimed(it.claimed_at, it.attempt, it.agent)
    again = {TaskState.DEAD: "for good", TaskState.WAITING: "it waits"}.get(it.became, "to be tried again")
    if it.failed or it.became is TaskState.DEAD:
        yield Moment(it.ended_at, "failed", f"attempt {it.attempt} failed, {again}", it.attempt, it.agent, it.reason)
        return
    died = f"{it.agent or 'its agent'} has ended: {it.death or 'nobody saw of what'}"
    why = it.reason if it.death is None else died
    aside = it.became is TaskState.WAITING
    what = f"attempt {it.attempt} was {f'put aside, {again}' if aside else 'handed back to the queue'}"
    yield Moment(it.ended_at, "released", what, it.attempt, it.agent, why)


def _claimed(at: datetime, attempt: int, agent: str) -> Moment:
    return Moment(at, "claimed", f"attempt {attempt} claimed by {agent or 'an agent'}", attempt, agent)


def _now(rows: Rows) -> Iterable[Moment]:
    """Tell what only the row itself knows: its newest attempt, its end, or what it waits for."""
    life = rows.life
    own = life.attempt > 0 and all(it.attempt != life.attempt for it in rows.attempts)
    if own and life.state not in (TaskState.QUEUED, TaskState.WAITING):
        yield _claimed(life.claimed_at or life.created_at, life.attempt, life.agent)
    if life.dispatched_at:
        yield Moment(life.dispatched_at, "told", "agents were told of it")
    if life.cancel_requested_at and not rows.asked:  # else the audit log says who did
        yield Moment(life.cancel_requested_at, "asked", "asked to stop")
    if life.state.ended:
        attempt = life.attempt if own else 0
        why = life.reason if own or life.state is not TaskState.DEAD else ""  # else its last attempt says so
        yield Moment(life.state_at, "ended", str(life.state), attempt, life.agent if own else "", why)
    elif life.state is not TaskState.RUNNING:
        for_agent = life.state is TaskState.QUEUED
        what = "may run from now on, waits for an agent" if for_agent else "waits for what comes before it"
        yield Moment(max(life.due_at, life.state_at), "waits", what, why=life.no_agent)


def _step(step: StepDone) -> Moment:
    number = f"step {step.no}" if step.no > 0 else "a step of the payload before"
    about = f"{number}: {step.kind}{f' {step.name}' if step.name else ''}"
    if step.finished_at is None:
        became = "was begun" if step.state == "intent" else f"is {step.state}"
        return Moment(step.started_at, "step", f"{about} {became}", step.attempt)
    took_s = (step.finished_at - step.started_at).total_seconds()
    tokens = f", {step.tokens:,} tokens" if step.tokens else ""
    return Moment(step.started_at, "step", f"{about} {step.state} after {took_s:.2f} s{tokens}", step.attempt)
