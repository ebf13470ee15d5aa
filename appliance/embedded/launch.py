"""Becomes one program of the appliance: `python -I -S launch.py RUN_FOLDER NAME`, standard library only.

Before it turns into the program (no process is added) it writes down who it is, so that the program can be found and
ended exactly, even after the process manager was killed. Output goes straight to the log file for the same reason:
a pipe to the manager would break with it.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

OPEN_FILES = 65_536
"""Every open chat is a file of nginx and of an agent; the usual 1024 are too few."""


def allow_open_files() -> None:
    """Let this process have as many open files as it needs, or as many as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OPEN_FILES), hard))


def identity_of(pid: int) -> dict[str, object] | None:
    """What tells this process from any other that ever had its number; None when there is none (or a zombie)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        machine_boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    if after_name[0] in "ZX":
        return None
    return {"pid": pid, "started": int(after_name[19]), "machine_boot": machine_boot}


def main() -> None:
    """Record, redirect, exec."""
    run, name = Path(sys.argv[1]), sys.argv[2]
    spec = json.loads((run / f"{name}.spec.json").read_text())
    os.umask(0o077)
    allow_open_files()
    record = run / f".{name}.json.new"
    record.write_text(json.dumps({"identity": identity_of(os.getpid()), "spec": spec}))
    record.rename(run / f"{name}.json")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(spec["cwd"])
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606


if __name__ == "__main__":
    main()
