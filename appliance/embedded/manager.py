"""The process manager: supervisord over the Unix socket in the home, one group per program.

Every program is started through `launch.py`, so that killing supervisord takes nothing with it.
"""

import fcntl
import hashlib
import json
import os
import shlex
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from appliance.core.errors import CannotStart
from appliance.embedded import launch, rotate
from appliance.embedded.places import Home
from appliance.embedded.processes import Spec, end, living, read_record
from appliance.embedded.programs import Program
from appliance.embedded.secrets import write_private

NAME = "supervisor"
_ORDER = 100
"""Later than anything it supervises, so that of leftovers it is ended first."""
_BAD_NAME, _ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED = 10, 60, 70, 90
_ANSWER_S = 5.0
"""How long supervisord may take to come up."""


@dataclass(frozen=True)
class State:
    """A supervised program as supervisord sees it: running, starting, backoff, stopped, fatal, …"""

    name: str
    state: str
    pid: int
    detail: str


class Manager:
    """Starts, stops, adds and removes the programs of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def answers(self) -> bool:
        """Whether supervisord is there."""
        try:
            self._call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def ensure(self) -> None:
        """Start supervisord unless it answers. Programs left over by a killed one are ended first.

        Raises:
            CannotStart: it does not come up.
        """
        if self.answers:
            return
        self.end_leftovers()
        self._write_config()
        spec = _spec(self.home, _supervisord(self.home), _ORDER)
        write_private(self.home.run / f"{NAME}.spec.json", spec.to_json())
        command = [*_launcher(self.home), NAME]
        os.posix_spawn(command[0], command, spec.env, setsid=True)  # it outlives this process on purpose
        deadline = time.monotonic() + _ANSWER_S
        while not self.answers:
            if time.monotonic() > deadline:
                raise CannotStart(f"the process manager does not start: see {spec.log}")
            time.sleep(0.02)

    def end_leftovers(self) -> list[str]:
        """End a supervisord that no longer answers and every recorded program that still runs; name them."""
        found = list(reversed(living(self.home.run)))
        for order in sorted({record.spec.order for record in found}, reverse=True):
            end([record for record in found if record.spec.order == order])
        return [record.spec.name for record in found]

    def put(self, program: Program, order: int) -> None:
        """Make a program known; what runs is not touched."""
        with self._lock():
            write_private(self.home.run / f"{program.name}.spec.json", _spec(self.home, program, order).to_json())
            self._reload()

    def remove(self, name: str) -> None:
        """Stop a program and forget it."""
        self.stop(name)
        with self._lock():
            for file in (f"{name}.spec.json", f"{name}.json"):
                (self.home.run / file).unlink(missing_ok=True)
            self._reload()

    def start(self, name: str) -> None:
        """Begin to start a program; nothing happens when it runs."""
        self._call("startProcess", name, False, allow=_ALREADY_STARTED)

    def stop(self, *names: str) -> None:
        """Stop programs, all at once, and return when they are gone; nothing happens when they do not run."""
        for name in names:
            self._call("stopProcess", name, False, allow=(_NOT_RUNNING, _BAD_NAME))
        while any(state.pid for name, state in self.states().items() if name in names):
            time.sleep(0.05)

    def stop_if_running(self, name: str) -> None:
        """Stop a program if there is a manager and it knows it."""
        if self.answers:
            self.stop(name)

    def states(self) -> dict[str, State]:
        """Every known program, by name."""
        found = self._call("getAllProcessInfo")
        return {
            info["name"]: State(info["name"], info["statename"].lower(), info["pid"], info["description"])
            for info in found
            if info["name"] != "rotate"
        }

    def shut_down(self) -> None:
        """End supervisord after its programs. Its own orderly way takes a second for each that it ever had."""
        self.stop(*self.states())
        self.end_leftovers()

    def is_current(self, program: Program) -> bool:
        """Whether the running process was started from this very description."""
        record = read_record(self.home.run, program.name)
        return bool(record and record.alive and record.spec.fingerprint == _fingerprint(program))

    def _reload(self) -> None:
        self._write_config()
        added, changed, removed = self._call("reloadConfig")[0]
        for name in (*removed, *changed):
            self._call("stopProcessGroup", name, allow=_BAD_NAME)
            self._call("removeProcessGroup", name, allow=_BAD_NAME)
        for name in (*added, *changed):
            self._call("addProcessGroup", name, allow=_ALREADY_ADDED)

    def _write_config(self) -> None:
        files = sorted(self.home.run.glob("*.spec.json"))
        specs = [json.loads(file.read_text()) for file in files if file.name != f"{NAME}.spec.json"]
        write_private(self.home.run / "supervisord.conf", _HEAD + "".join(_section(spec) for spec in specs))

    def _call(self, method: str, *arguments: object, allow: int | tuple[int, ...] = ()) -> Any:
        """Call supervisord. Its socket is reached through the folder's handle: such a path is never too long."""
        folder = os.open(self.home.run, os.O_PATH | os.O_DIRECTORY)
        transport = SupervisorTransport(None, None, f"unix:///proc/self/fd/{folder}/{NAME}.sock")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (allow if isinstance(allow, tuple) else (allow,)):
                raise
        finally:
            transport.close()
            os.close(folder)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.home.run / "manager.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _launcher(home: Home) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", launch.__file__, str(home.run))


def _supervisord(home: Home) -> Program:
    """Supervisord as a program. Paths come in by environment, for its file format trips over `#` and `;`."""
    shell = {"NEXUS_LAUNCH": _launcher(home), "NEXUS_ROTATE": (sys.executable, "-I", rotate.__file__, str(home.logs))}
    return Program(
        name=NAME,
        argv=(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", "supervisord.conf"),
        cwd=home.run,
        env={name: shlex.join(parts) for name, parts in shell.items()},
        check=lambda: None,
        stop_signal=signal.SIGKILL,
    )


def _spec(home: Home, program: Program, order: int) -> Spec:
    return Spec(
        name=program.name,
        argv=program.argv,
        env=program.environment(),
        cwd=str(program.cwd),
        log=str(home.logs / f"{program.name}.log"),
        order=order,
        stop_signal=int(program.stop_signal),
        stop_within_s=program.stop_within_s,
        fingerprint=_fingerprint(program),
    )


def _fingerprint(program: Program) -> str:
    """What a restart would change; the environment `up` happened to be typed in does not count."""
    return hashlib.sha256(json.dumps([program.argv, sorted(program.env.items())]).encode()).hexdigest()[:16]


# Relative to the run folder, in which supervisord works: no path of the user's can be too long or need quoting.
_HEAD = f"""\
[unix_http_server]
file=/proc/self/cwd/{NAME}.sock
chmod=0600

[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=supervisord.pid
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[eventlistener:rotate]
command=%(ENV_NEXUS_ROTATE)s
events=TICK_60
stderr_logfile=NONE
"""


def _section(spec: Mapping[str, Any]) -> str:
    return f"""
[program:{spec["name"]}]
command=%(ENV_NEXUS_LAUNCH)s {spec["name"]}
autostart=false
autorestart=true
startsecs=1
startretries=1000000
priority={spec["order"]}
stopsignal={signal.Signals(spec["stop_signal"]).name.removeprefix("SIG")}
stopwaitsecs={spec["stop_within_s"]}
killasgroup=true
stdout_logfile=NONE
stderr_logfile=NONE
"""
