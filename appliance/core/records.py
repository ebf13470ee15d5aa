"""Frozen records that travel between rooms. Times are seconds; `_ms` says milliseconds; ids are text uuids."""

from enum import StrEnum
from typing import Any, Literal, get_args

import msgspec

DEFAULT_TENANT = "default"
Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


class Role(StrEnum):
    """What an agent is in its cluster."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    STANDBY = "standby"


class Status(StrEnum):
    """Where an agent is in its life."""

    STARTING = "starting"
    ACTIVE = "active"
    DRAINING = "draining"
    FAILED = "failed"


class TaskState(StrEnum):
    """Where a task (a turn is one) is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  #: for the turn before it, an approval or children
    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"  #: failed for good, kept for a person to look at
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.DEAD, TaskState.CANCELLED)


class Agent(msgspec.Struct, frozen=True):
    """One agent as the registry knows it; `beat_age_s` is by Redis' clock at the moment of the view."""

    id: str
    role: Role = Role.SECONDARY
    status: Status = Status.STARTING
    boot: str = ""
    host: str = ""
    port: int = 0
    liveness_port: int = 0
    keeper_pid: int = 0
    runner_pid: int = 0
    models: tuple[str, ...] = ()
    current_load: int = 0
    max_load: int = 0
    queued: int = 0
    config_epoch: int = 0
    beat_age_s: float = 0.0
    boot_alive: bool = False  #: whether its boot key is there
    started_at: float = 0.0
    loop_lag_ms: float = 0.0
    version: str = ""
    can_vote: bool = False  #: not in tilt, PostgreSQL reachable, not draining
    electable: bool = False  #: its setting and its state let it stand
    sdown: int = 0  #: how many agents saw its liveness connection end
    capabilities: tuple[str, ...] = ()  #: what it can beside what every agent can; tasks may need it

    @property
    def belongs_to_quorum(self) -> bool:
        """Whether it is counted when votes are."""
        return self.boot_alive and self.can_vote

    @property
    def is_primary(self) -> bool:
        """Whether its own record says primary; the lease decides (`ClusterView.primary`)."""
        return self.role is Role.PRIMARY


class Lease(msgspec.Struct, frozen=True):
    """The primary's time-limited right to act, as Redis shows it."""

    holder: str
    boot: str
    epoch: int
    seq: int
    left_s: float = 0.0


class Released(msgspec.Struct, frozen=True):
    """A seat that its holder gave up; `successor` is named, or '' when the cluster has to agree."""

    epoch: int
    successor: str
    kind: str


class ClusterView(msgspec.Struct, frozen=True):
    """One consistent read of the registry; `epoch` is Redis' cached copy."""

    agents: tuple[Agent, ...]
    generation: str | None
    epoch: int
    redis_time: float
    lease: Lease | None = None
    released: Released | None = None

    @property
    def primary_id(self) -> str | None:
        """Who holds the lease now."""
        return self.lease.holder if self.lease else None

    def agent(self, agent_id: str) -> Agent | None:
        """Return the agent with this id, or None."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)


class User(msgspec.Struct, frozen=True):
    """A person who may sign in."""

    id: str
    name: str
    role: str = "operator"
    tenant_id: str = DEFAULT_TENANT


class Turn(msgspec.Struct, frozen=True):
    """One user message and all that answers it, as its ledger row says."""

    id: str
    conversation_id: str
    user_id: str
    turn_no: int
    state: TaskState
    attempt: int
    text: str = ""
    reason: str = ""
    crash_count: int = 0
    fail_count: int = 0
    owner_boot: str | None = None
    tenant_id: str = DEFAULT_TENANT
    trace_id: str = ""
    cancel_requested: bool = False
    waits_for: str = ""
    """`person` while a question to its user is open."""
    answered: bool = False
    """Whether it goes on because its user answered."""
    ready: str | None = None
    """Its answer, when it has one from the start: a reminder's text."""


class Task(msgspec.Struct, frozen=True):
    """One attempt of a unit of work other than a turn, as it was claimed."""

    id: str
    kind: str
    user_id: str
    attempt: int
    payload: dict[str, Any]
    priority: Priority = "normal"
    tenant_id: str = DEFAULT_TENANT
    parent_id: str | None = None
    conversation_id: str | None = None
    fail_count: int = 0
    crash_count: int = 0
    trace_id: str = ""
    edits: int = 0
    """How often its payload was changed since it was accepted."""


class Ended(msgspec.Struct, frozen=True):
    """How a task ended: its state and result, or the reason why there is none."""

    state: TaskState
    result: dict[str, Any] | None = None
    reason: str = ""
    seconds: float = 0.0
    """From its last claim to its end."""


class Accepted(msgspec.Struct, frozen=True):
    """What the ledger answers to a message: committed, and where it stands."""

    turn: Turn
    message_id: str
    duplicate: bool
    cursor: str = ""
    """Where its conversation's events begin; '' when Redis could not tell."""


class Message(msgspec.Struct, frozen=True):
    """One committed message of a conversation."""

    id: str
    turn_id: str
    turn_no: int
    role: str
    text: str
    agent_id: str = ""
    model: str = ""
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    created_at: float = 0.0


class Conversation(msgspec.Struct, frozen=True):
    """A chat."""

    id: str
    title: str
    updated_at: float = 0.0


class Event(msgspec.Struct, frozen=True):
    """One thing a client of a conversation sees; `cursor` is `generation-streamid` (PROTOCOLS 8.3)."""

    type: str
    cursor: str
    turn: str = ""
    attempt: int = 0
    data: dict[str, Any] = msgspec.field(default_factory=dict)
