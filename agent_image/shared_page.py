"""The small page of memory a keeper and its own runner share (PROTOCOLS 6.1): no I/O can delay what is written here.

Each field is one aligned word written in one store, so a reader never sees half a value.
"""

import mmap
import os
import struct
from collections.abc import Callable
from typing import Any

from appliance.core.records import Role, Status

_SIZE = 4096
_ROLES = list(Role)
_STATUSES = list(Status)


def _field(offset: int, form: str) -> Any:
    """Make a property over one word of the page."""
    word = struct.Struct(form)
    read: Callable[[SharedPage], Any] = lambda page: word.unpack_from(page.memory, offset)[0]
    write: Callable[[SharedPage, Any], None] = lambda page, value: word.pack_into(page.memory, offset, value)
    return property(read, write)


class SharedPage:
    """Runner → tick, load, queued, lag, status, drained, reigning, terminal; keeper → the other fields."""

    loop_tick: float = _field(0, "d")
    """CLOCK_BOOTTIME seconds of the last turn of the runner's event loop; 0 = it has not turned yet, or is gone."""
    loop_lag_ms: float = _field(8, "d")
    load: int = _field(16, "q")
    queued: int = _field(24, "q")
    epoch: int = _field(32, "q")
    lease_deadline: float = _field(40, "d")
    """CLOCK_BOOTTIME seconds until which this agent may act as primary."""
    _status: int = _field(48, "q")
    _role: int = _field(56, "q")
    drain_deadline: float = _field(64, "d")
    """Keeper → runner: CLOCK_BOOTTIME seconds until which running turns may go on; 0 = not draining."""
    drained: int = _field(72, "q")
    """Runner → keeper: 1 = nothing runs here any more; everything was finished or handed back."""
    reigning: int = _field(80, "q")
    """Runner → keeper: 1 while the loops of a primary run."""
    brake_deadline: float = _field(88, "d")
    """Keeper → runner: CLOCK_BOOTTIME seconds until which no task is fetched, since runners died here; 0 = fetch."""
    terminal: int = _field(96, "q")
    """Runner → keeper: 1 = it offers shell commands, which it has tried."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, _SIZE)

    @classmethod
    def create(cls) -> "SharedPage":
        """Make a page that lives as long as one of the two processes, nowhere on disk."""
        descriptor = os.memfd_create("nexus-agent-page", 0)
        os.ftruncate(descriptor, _SIZE)
        page = cls(descriptor)
        page.role = Role.SECONDARY
        return page

    @property
    def status(self) -> Status:
        """What the runner is doing."""
        return _STATUSES[self._status]

    @status.setter
    def status(self, status: Status) -> None:
        self._status = _STATUSES.index(status)

    @property
    def role(self) -> Role:
        """What the keeper holds this agent to be."""
        return _ROLES[self._role]

    @role.setter
    def role(self, role: Role) -> None:
        self._role = _ROLES.index(role)

    def brakes(self, now: float) -> bool:
        """Whether tasks are left to the others: runners died here one after the other (PROTOCOLS 7.6)."""
        return now < self.brake_deadline

    def may_act_as_primary(self, now: float) -> bool:
        """Whether the lease still stands; asked before every authoritative step."""
        return self.role is Role.PRIMARY and now < self.lease_deadline
