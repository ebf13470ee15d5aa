"""The fleet as processes: the agents of one home under its process manager (the runtime without Docker)."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from xmlrpc.client import Error as ManagerError

from appliance.core.desired_fleet import agent_id, slot_of
from appliance.core.errors import CannotStart, NotFound
from appliance.embedded.lifecycle import forget_agent, log_file, log_tail, start_agent
from appliance.embedded.manager import Manager, State
from appliance.embedded.places import Home
from appliance.embedded.processes import read_record, tell
from control_plane.fleet import FleetAway, Member, MemberState, Stats
from control_plane.fleet.threads import Threads

T = TypeVar("T")
_LAST_WORDS = 3
_FOLLOW_S = 0.2
_BLOCK = 65_536
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATES = {
    "running": MemberState.RUNNING,
    "starting": MemberState.STARTING,
    "stopping": MemberState.LEAVING,
    "backoff": MemberState.CRASHING,
    "fatal": MemberState.CRASHING,
}


class Processes:
    """Agents as supervised programs. The manager is asked in threads, a few at a time."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._manager = Manager(home)
        self._threads = Threads()
        self._seen: dict[str, tuple[int, int]] = {}
        self._cpu: dict[str, tuple[float, float]] = {}
        self._thaws: set[asyncio.Task[None]] = set()

    async def members(self) -> tuple[Member, ...]:
        """Return all members by slot."""
        return await self._in_thread(self._members)

    async def start(self, slot: int) -> None:
        """Start the slot's agent, described anew when it is not there."""
        await self._in_thread(lambda: start_agent(self._home, slot), long=True)

    async def stop(self, slot: int) -> None:
        """End it gently and keep it ended."""
        await self._in_thread(lambda: self._stop(slot), long=True)

    async def remove(self, slot: int) -> None:
        """Stop it and forget it."""
        await self._in_thread(lambda: forget_agent(self._home, slot), long=True)

    async def restart(self, slot: int) -> None:
        """Stop it gently and start it again."""
        await self.stop(slot)
        await self.start(slot)

    async def kill(self, slot: int) -> None:
        """SIGKILL to all its processes; the manager starts it again."""
        await self._in_thread(lambda: self._signal(slot, signal.SIGKILL))

    async def freeze(self, slot: int, seconds: float) -> None:
        """SIGSTOP to all its processes, SIGCONT after `seconds`."""
        await self._in_thread(lambda: self._signal(slot, signal.SIGSTOP))
        thaw = asyncio.create_task(self._thaw_later(slot, seconds), name=f"thaw {agent_id(slot)}")
        self._thaws.add(thaw)
        thaw.add_done_callback(self._thaws.discard)

    async def thaw(self, slot: int) -> None:
        """SIGCONT to all processes of a frozen one."""
        with suppress(NotFound):  # it ended meanwhile
            await self._in_thread(lambda: self._signal(slot, signal.SIGCONT))

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        """Yield the end of its log, then what it writes."""
        await self._in_thread(lambda: self._state(slot))
        file = log_file(self._home, agent_id(slot))
        position, last = await self._in_thread(lambda: _end_of(file, lines))
        for line in last:
            yield line
        rest = b""
        while follow:
            position, new = await self._in_thread(lambda at=position: _since(file, at))  # type: ignore[misc]
            *whole, rest = (rest + new).split(b"\n")
            for written in whole:
                yield written.decode(errors="replace")
            if not new:
                await asyncio.sleep(_FOLLOW_S)

    async def stats(self) -> tuple[Stats, ...]:
        """Return what each running member's processes use together."""
        return await self._in_thread(lambda: tuple(self._stats()))

    async def aclose(self) -> None:
        """Let frozen agents go on and end the threads."""
        for thaw in list(self._thaws):
            thaw.cancel()
        await asyncio.gather(*self._thaws, return_exceptions=True)
        self._threads.close()

    async def _in_thread(self, work: Callable[[], T], *, long: bool = False) -> T:
        try:
            return await (self._threads.change(work) if long else self._threads.read(work))
        except (OSError, ManagerError) as error:
            raise FleetAway(f"The process manager does not answer ({error}): `make up` starts it.") from error
        except CannotStart as error:
            raise FleetAway(error.detail) from error

    def _members(self) -> tuple[Member, ...]:
        found = ((slot_of(name), state) for name, state in self._manager.states().items())
        return tuple(self._member(slot, state) for slot, state in sorted((s, it) for s, it in found if s is not None))

    def _member(self, slot: int, found: State) -> Member:
        state = _STATES.get(found.state, MemberState.STOPPED)
        if state is MemberState.RUNNING and _letter(found.pid) in "Tt":
            state = MemberState.FROZEN
        crashing = state is MemberState.CRASHING
        detail = f"{found.detail}; last words: {log_tail(self._home, found.name, _LAST_WORDS)}" if crashing else ""
        return Member(found.name, slot, state, detail, _started_at(found.pid), self._restarts(found))

    def _restarts(self, found: State) -> int:
        """Count how often another process was seen than before."""
        pid, count = self._seen.get(found.name, (found.pid, 0))
        if found.pid and found.pid != pid:
            count += bool(pid)
        self._seen[found.name] = (found.pid or pid, count)
        return count

    def _state(self, slot: int) -> State:
        if found := self._manager.states().get(agent_id(slot)):
            return found
        raise NotFound(f"There is no {agent_id(slot)}.")

    def _stop(self, slot: int) -> None:
        self._manager.stop(self._state(slot).name)

    def _signal(self, slot: int, number: signal.Signals) -> None:
        """Send a signal to all processes of an agent, its head last so that nobody counts them as orphans before."""
        record = read_record(self._home.run, self._state(slot).name)
        if record is None or not record.alive:
            raise NotFound(f"{agent_id(slot)} does not run.")
        for pid in reversed(_tree(record.pid)[1:]):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        tell(record, number)

    async def _thaw_later(self, slot: int, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.shield(self.thaw(slot))

    def _stats(self) -> Iterator[Stats]:
        for name, state in self._manager.states().items():
            if slot_of(name) is None or not state.pid:
                continue
            tree = _tree(state.pid)
            now, used = time.monotonic(), sum(map(_cpu_s, tree))
            at, before = self._cpu.get(name, (now, used))
            self._cpu[name] = (now, used)
            cores = max(0.0, used - before) / (now - at) if now > at else 0.0
            yield Stats(name, round(cores, 3), sum(map(_memory, tree)))


def _tree(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _fields(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on; [] when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _letter(pid: int) -> str:
    fields = _fields(pid)
    return fields[0] if fields else "-"


def _cpu_s(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _memory(pid: int) -> int:
    fields = _fields(pid)
    return int(fields[21]) * _PAGE if fields else 0


def _started_at(pid: int) -> float | None:
    fields = _fields(pid) if pid else []
    if not fields:
        return None
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    return round(time.time() - up_s + int(fields[19]) / _TICKS, 1)


def _end_of(file: Path, lines: int) -> tuple[int, list[str]]:
    """Return a log's length and its last lines; a half one at its end waits for its other half."""
    if not file.exists():
        return 0, []
    with file.open("rb") as log:
        size = position = log.seek(0, os.SEEK_END)
        text = b""
        while position and text.count(b"\n") <= lines:
            position = max(0, position - _BLOCK)
            log.seek(position)
            text = log.read(size - position)
    whole = text[: text.rfind(b"\n") + 1]
    return size - len(text) + len(whole), [it.decode(errors="replace") for it in whole.split(b"\n")[:-1][-lines:]]


def _since(file: Path, position: int) -> tuple[int, bytes]:
    """Return what was written since; from the beginning when the log was begun anew."""
    if not file.exists():
        return 0, b""
    with file.open("rb") as log:
        log.seek(position if position <= log.seek(0, os.SEEK_END) else 0)
        new = log.read(_BLOCK)
        return log.tell(), new
