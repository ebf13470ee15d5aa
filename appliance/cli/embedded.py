"""What commands do with an appliance of processes: list them, frozen ones as such, kill an agent, stop one."""

from dataclasses import replace
from pathlib import Path

from appliance.cli.victim import Victim, kill
from appliance.core.errors import CannotStart
from appliance.core.records import Agent
from appliance.embedded import lifecycle
from appliance.embedded.lifecycle import Service
from appliance.embedded.manager import NAME as MANAGER
from appliance.embedded.manager import Manager
from appliance.embedded.places import Home
from appliance.embedded.processes import end, living, read_record


def services(home: Home) -> list[Service]:
    """List the programs, a frozen one as such. A frozen process manager is not asked: it would never answer."""
    manager = read_record(home.run, MANAGER)
    if manager is None or not manager.alive or not is_stopped(manager.pid):
        found = lifecycle.services(home)
    else:
        alive = {record.spec.name: record.pid for record in living(home.run)}
        names = {file.name.removesuffix(".spec.json") for file in home.run.glob("*.spec.json")} - {MANAGER}
        states = [(name, "unsupervised" if name in alive else "stopped") for name in sorted(names)]
        found = [Service(MANAGER, "running", manager.pid)]
        found += [Service(name, state, alive.get(name, 0)) for name, state in states]
    return [replace(it, state="frozen") if is_stopped(it.pid) else it for it in found]


def is_running(home: Home, program: str) -> bool:
    """Whether a program's process is there; nobody is asked who could be slow."""
    return program in {record.spec.name for record in living(home.run)}


def kill_agent(home: Home, agent: Agent) -> None:
    """SIGKILL both processes of an agent.

    Raises:
        NexusError: they are not what this home started; nothing was killed.
    """
    kill(Victim.of(home, agent))


def stop(home: Home, program: str) -> None:
    """End a program until the next `up`; without a process manager, exactly the recorded process."""
    manager = Manager(home)
    if manager.answers:
        manager.stop(program)
    elif record := read_record(home.run, program):
        end([record])


def refuse_frozen_manager(home: Home) -> None:
    """Whoever asks a frozen process manager waits for ever."""
    manager = read_record(home.run, MANAGER)
    if manager and manager.alive and is_stopped(manager.pid):
        raise CannotStart(f"The process manager is frozen: type `kill -CONT {manager.pid}`, then the same again.")


def is_stopped(pid: int) -> bool:
    """Whether a process is frozen (SIGSTOP)."""
    return _letter(pid) in ("T", "t")


def exists(pid: int) -> bool:
    """Whether a process is there; one that only waits to be buried is not."""
    return _letter(pid) not in ("", "Z")


def _letter(pid: int) -> str:
    """Return the kernel's letter for a process's state; '' when there is none."""
    if not pid:
        return ""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
