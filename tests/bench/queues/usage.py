"""CPU seconds of process trees, as the kernel counts them."""

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _stats() -> dict[int, list[str]]:
    """Return pid → the fields of /proc/PID/stat from the state on."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                found[int(place.name)] = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
    return found


def tree_cpu_s(pid: int) -> float:
    """Return what a process, those below it and their ended children have used."""
    stats = _stats()
    children: dict[int, list[int]] = defaultdict(list)
    for it, fields in stats.items():
        children[int(fields[1])].append(it)
    ticks, below = 0, [pid]
    while below:
        it = below.pop()
        below += children[it]
        ticks += sum(map(int, stats[it][11:15])) if it in stats else 0
    return ticks * _TICK_S


def own_cpu_s() -> float:
    """Return what this process alone has used."""
    return time.process_time()


class Usage:
    """What parts of a queue use from now on; part 0 is this process without what it started."""

    def __init__(self, parts: Mapping[str, int]) -> None:
        self._parts = parts
        self._before = self._now()
        self._began = time.perf_counter()

    def _now(self) -> dict[str, float]:
        return {name: tree_cpu_s(pid) if pid else own_cpu_s() for name, pid in self._parts.items()}

    def until_now(self) -> tuple[dict[str, float], float]:
        """Return the CPU seconds of each part, and the seconds that have passed."""
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}, time.perf_counter() - self._began
