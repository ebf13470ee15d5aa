"""The two processes of one agent of this home, held so that no other process can be meant."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import NexusError
from appliance.core.records import Agent
from appliance.embedded.places import Home
from appliance.embedded.processes import Recorded, read_record


@dataclass(frozen=True)
class Victim:
    """An agent's keeper, as this home recorded it, and its runner."""

    keeper: Recorded
    runner_pid: int

    @classmethod
    def of(cls, home: Home, agent: Agent) -> "Victim":
        """Find the processes that the registry names.

        Raises:
            NexusError: they are not what this home started.
        """
        record = read_record(home.run, agent.id)
        if record is None or record.pid != agent.keeper_pid:
            raise NexusError(f"Process {agent.keeper_pid} is not {agent.id} of this home; nothing was killed.")
        return cls(record, agent.runner_pid)


def kill(victim: Victim) -> None:
    """SIGKILL both processes; both are made sure of before either is killed.

    Raises:
        NexusError: one of them is somebody else's, or gone; nothing was killed.
    """
    with _handle(victim.keeper.pid) as keeper, _handle(victim.runner_pid) as runner:
        # The handles pin both processes: no number can pass to a stranger between this look and the kill.
        if not victim.keeper.alive or parent_of(victim.runner_pid) != victim.keeper.pid:
            raise NexusError(f"{victim.keeper.spec.name} is not what the registry says; nothing was killed.")
        for handle in (keeper, runner):
            # A runner dies with its keeper, so it may be gone already: that is what was wanted.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)


def parent_of(pid: int) -> int:
    """Return the process that started `pid`; 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@contextmanager
def _handle(pid: int) -> Iterator[int]:
    with ExitStack() as closing:
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            raise NexusError(f"Process {pid} is gone; nothing was killed.") from None
        closing.callback(os.close, handle)
        yield handle
