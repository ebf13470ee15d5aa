"""The fleet: agents as processes or containers, as the control plane starts, stops and watches them."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import msgspec

from appliance.core.errors import NexusError

MAX_LINES = 5000
"""Lines of a log that can be asked for at once."""
MAX_FREEZE_S = 120.0


class FleetAway(NexusError):
    """What starts and stops agents does not answer; agents that run go on. Try again in a moment."""

    status = 503
    retryable = True


class Refusal(msgspec.Struct, frozen=True):
    """How the broker says no: the error's kind and its sentence."""

    kind: str
    detail: str


class MemberState(StrEnum):
    """How a member's program is, whatever the agent inside says of itself."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPED = "stopped"
    CRASHING = "crashing"  #: it ends by itself soon after each start; `detail` says why
    FROZEN = "frozen"
    LEAVING = "leaving"  #: it was told to end and has not yet


class Member(msgspec.Struct, frozen=True):
    """One agent as a program."""

    agent_id: str
    slot: int
    state: MemberState
    detail: str = ""
    """Why it is so, for people: the end of a crashing one's log, an exit code; '' when there is nothing to say."""
    started_at: float | None = None
    """Seconds since 1970 by this machine's clock; None when it does not run."""
    restarts: int = 0
    """How often it was started again by itself, as far as is known."""


class Stats(msgspec.Struct, frozen=True):
    """What a member uses now."""

    agent_id: str
    cpu_cores: float
    """Cores kept busy since the reading before; 0 at the first one."""
    memory_bytes: int


class Fleet(Protocol):
    """Starts, stops and watches agents by slot; each call may be repeated.

    Every method raises FleetAway when the process manager or the Docker daemon does not answer, and NotFound (but for
    `start` and `remove`) when the slot has no member.
    """

    async def members(self) -> tuple[Member, ...]:
        """Return all members by slot, those that do not run too."""

    async def start(self, slot: int) -> None:
        """Start the slot's agent, made anew when it is not there; returns before the agent serves."""

    async def stop(self, slot: int) -> None:
        """End it gently (SIGTERM, by force when it will not) and keep it from starting by itself."""

    async def remove(self, slot: int) -> None:
        """Stop it and forget it."""

    async def restart(self, slot: int) -> None:
        """Stop it gently and start it again."""

    async def kill(self, slot: int) -> None:
        """End it at once (SIGKILL), as a fault would."""

    async def freeze(self, slot: int, seconds: float) -> None:
        """Stop all its processes (SIGSTOP, pause) and let them go on after `seconds`; returns when they are stopped."""

    def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        """Yield the last `lines` lines it wrote and, with `follow`, each further one until the caller stops."""

    async def stats(self) -> tuple[Stats, ...]:
        """Return what each running member uses."""
