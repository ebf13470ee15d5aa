"""What an appliance costs that nobody uses: three agents, the model loaded, everything watched.

    python -m tests.bench.idle [--quick] [--home FOLDER] --json FILE

Starts an appliance in a home of its own (or looks at one that runs), lets it settle, then adds up per process over a
minute: CPU time, as a share of one core (with that of children that ended meanwhile), and memory as PSS, so that
what processes share is counted once. Prometheus, no part of the appliance and there only where it is installed, stands
beside the sum.
"""

import argparse
import asyncio
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from appliance.embedded.places import Home
from appliance.embedded.processes import living
from appliance.embedded.programs import free_port
from tests.appliance.commands import Appliance

PROMISED_CPU, PROMISED_GB = 0.06, 1.3
NOT_OURS = "prometheus"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One process: its pid with its start (numbers come again), and what it is called in the table."""

    pid: int
    started: int
    name: str


def processes(home: Home) -> list[Process]:
    """List every process of a home with its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid in (int(it.name) for it in Path("/proc").iterdir() if it.name.isdigit()):
        if stat := _stat(pid):
            children[int(stat[1])].append(pid)
    roots = {record.pid: record.spec.name for record in living(home.run)}
    return [process for pid, name in roots.items() for process in _below(pid, name, children, set(roots) - {pid})]


def _below(pid: int, name: str, children: dict[int, list[int]], others: set[int]) -> list[Process]:
    """List a program's own processes: what the process manager started has a record of its own."""
    found = [Process(pid, int(stat[19]), f"{name}{_part(pid, name)}")] if (stat := _stat(pid)) else []
    return found + [
        it for child in children[pid] if child not in others for it in _below(child, name, children, others)
    ]


def _part(pid: int, name: str) -> str:
    """Tell the processes of one program apart, where they are different programs."""
    try:
        program, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return ""
    if name.startswith("agent-"):
        return " runner" if "agent_image.runner" in arguments else " keeper"
    return " nginx" if name == "gateway" and "nginx" in program else ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(process: Process) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    stat = _stat(process.pid)
    return sum(map(int, stat[11:15])) * _TICK_S if stat and int(stat[19]) == process.started else 0.0


def pss_mb(process: Process) -> float:
    """Return the memory of a process, its part of what it shares included."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def measure(home: Home, seconds: float) -> dict[str, Any]:
    """Watch a home for a while and return figures per program and in sum."""
    before = {process: cpu_s(process) for process in processes(home)}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    after = {process: cpu_s(process) for process in processes(home)}
    took = time.monotonic() - began
    figures: dict[str, dict[str, float]] = defaultdict(lambda: {"cpu": 0.0, "mb": 0.0, "processes": 0})
    for process, used in after.items():
        line = figures[process.name]
        line["cpu"] += max(0.0, used - before.get(process, 0.0)) / took
        line["mb"] += pss_mb(process)
        line["processes"] += 1
    ours = [line for name, line in figures.items() if name != NOT_OURS]
    cpu, gb = sum(line["cpu"] for line in ours), sum(line["mb"] for line in ours) / 1024
    return {
        "seconds": round(took, 1), "programs": dict(figures), "cpu": cpu, "gb": gb,
        "promised": {"cpu": PROMISED_CPU, "gb": PROMISED_GB},
        "kept": cpu < PROMISED_CPU and gb < PROMISED_GB and bool(ours),
    }  # fmt: skip


async def run(home: Path | None, *, settle_s: float, seconds: float) -> dict[str, Any]:
    """Measure a home that runs, or one started for it."""
    if home is not None:
        return await measure(Home.at(home), seconds)
    folder = Path(tempfile.mkdtemp(prefix="nexus-idle-"))
    appliance = Appliance(folder)
    try:
        await appliance.nexus("up", "--runtime", "embedded", "--port", str(free_port()))
        await asyncio.sleep(settle_s)
        return await measure(Home.at(folder), seconds)
    finally:
        await appliance.nexus("down")
        shutil.rmtree(folder, ignore_errors=True)


def print_table(figures: dict[str, Any]) -> None:
    """Print a line for each program, the busiest first, and the sum."""
    print(f"{'program':<24}{'CPU':>8}{'PSS MB':>9}")  # noqa: T201
    for name, line in sorted(figures["programs"].items(), key=lambda it: -it[1]["cpu"]):
        print(f"{name:<24}{line['cpu']:>8.2%}{line['mb']:>9.0f}")  # noqa: T201
    print(f"{'all but Prometheus':<24}{figures['cpu']:>8.2%}{figures['gb'] * 1024:>9.0f}")  # noqa: T201
    word = "kept" if figures["kept"] else "NOT kept"
    print(f"promised: < {PROMISED_CPU:.0%} of one core, < {PROMISED_GB} GB: {word}")  # noqa: T201


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fifteen seconds instead of a minute")
    parser.add_argument("--home", type=Path, help="an appliance that runs already")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settle_s, seconds = (5.0, 15.0) if arguments.quick else (20.0, 60.0)
    figures = asyncio.run(run(arguments.home, settle_s=settle_s, seconds=seconds))
    print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
