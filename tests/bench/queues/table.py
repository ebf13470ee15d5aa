"""What the figures of all queues say together, and how they are printed."""

from typing import Any

PARTS = ("worker", "client", "redis", "postgres")
FULL = 0.85
"""A process that uses so much of a core, or a machine that uses so much of all, has nothing left to give."""


def summed_up(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return Nexus beside the best peer in each figure, and what limits Nexus."""
    nexus = figures.get("nexus", {})
    if "per_s" not in nexus:
        return {"nexus_to_best_peer": None, "nexus_to_raw_limit": None, "nexus_to_raw_latency": None, "limit": None}
    peers = {name: it for name, it in figures.items() if name != "nexus" and "per_s" in it}
    raw, latency = (figures.get("raw", {}).get(it) for it in ("entries_per_s", "latency_ms"))
    return {
        "nexus_to_best_peer": _ratios(nexus, peers) if peers else None,
        "nexus_to_raw_limit": round(nexus["per_s"]["best"] / raw, 2) if raw else None,
        "nexus_to_raw_latency": _latency_ratios(nexus["latency_ms"], latency) if latency else None,
        "limit": _limit(nexus),
    }


def _ratios(nexus: dict[str, Any], peers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return, per figure, the best peer and how many times its figure ours is."""
    found = {}
    for kind, part, best in (
        ("per_s", "best", max), ("per_s", "median", max), ("latency_ms", "p50", min), ("latency_ms", "p99", min),
    ):  # fmt: skip
        name = best(peers, key=lambda it: peers[it][kind][part])
        found[f"{kind} {part}"] = {"peer": name, "ratio": round(nexus[kind][part] / peers[name][kind][part], 2)}
    return found


def _latency_ratios(nexus: dict[str, float], raw: dict[str, float]) -> dict[str, float]:
    return {part: round(nexus[part] / raw[part], 2) for part in raw}


def _limit(nexus: dict[str, Any]) -> str:
    """Say what had nothing left to give while tasks were done."""
    cores = nexus["cores"]
    name = max(cores, key=lambda it: float(cores[it]))
    used = ", ".join(f"{part} {share:.2f}" for part, share in cores.items())
    if nexus["machine"] > FULL:
        return f"the machine: {nexus['machine']:.0%} of all cores busy (of a core: {used}), most by {name}"
    if cores[name] > FULL:
        return f"{name}: it uses {cores[name]:.2f} of one core (of a core: {used})"
    return f"waiting, for a disk or for an answer: no process is busy all the time (of a core: {used})"


def print_table(figures: dict[str, Any]) -> None:
    """Print a line for each queue, then what they say together."""
    size, queues = figures["size"], figures["queues"]
    print(f"{size['tasks']} no-op tasks, results awaited; CPU in seconds per 1,000 tasks")  # noqa: T201
    print(f"{'':<10}{'best/s':>9}{'median/s':>10}{'p50 ms':>9}{'p99 ms':>9}  "  # noqa: T201
          + "".join(f"{part:>10}" for part in PARTS) + f"{'machine':>9}  rounds/s")  # fmt: skip
    for name, it in queues.items():
        if "failed" in it:
            print(f"{name:<10}FAILED: {it['failed']}")  # noqa: T201
        elif "per_s" in it:
            print(f"{name:<10}{_line(it)}  {it['rounds_per_s']}")  # noqa: T201
    for said in _together(figures):
        print(said)  # noqa: T201


def _line(it: dict[str, Any]) -> str:
    speed, latency, cpu = it["per_s"], it["latency_ms"], it["cpu_s_per_1000"]
    parts = "".join(f"{cpu.get(part, '-'):>10}" for part in PARTS)
    figures = f"{speed['best']:>9}{speed['median']:>10}{latency['p50']:>9}{latency['p99']:>9}"
    return f"{figures}  {parts}{it['machine']:>9.0%}"


def _together(figures: dict[str, Any]) -> list[str]:
    """Return the lines below the table."""
    queues, said, size = figures["queues"], [], figures["size"]["tasks"]
    if ratios := figures["nexus_to_best_peer"]:
        said += [f"nexus / best peer, {it}: {found['ratio']} ({found['peer']})" for it, found in ratios.items()]
    if backlog := queues.get("nexus", {}).get("backlog"):
        said.append(
            f"with a backlog of {backlog['waited']}: {backlog['per_s']}/s of anybody's, "
            f"a task costs {backlog['cost']} times as much "
            f"({backlog['done']} done for {size} of ours, {backlog['left']} left)"
        )
    if limit := figures["limit"]:
        said.append(f"what limits nexus: {limit}")
        said.append("its stores: " + ", ".join(f"{k}={v}" for k, v in queues["nexus"]["durability"].items()))
    if "entries_per_s" in (raw := queues.get("raw", {})):
        said.append(f"raw limit: {raw['entries_per_s']} entries/s, {raw['commands_per_s']} commands/s")
    if ratio := figures["nexus_to_raw_limit"]:
        said.append(f"nexus / raw limit: {ratio}")
    return said + _of_latency(figures)


def _of_latency(figures: dict[str, Any]) -> list[str]:
    """Return what of a latency is Redis's, the disk's and the code's own."""
    nexus, said = figures["queues"].get("nexus", {}), []
    if raw := figures["queues"].get("raw", {}).get("latency_ms"):
        said.append(f"raw latency: {_ms(raw)}")
    if ratios := figures["nexus_to_raw_latency"]:
        said.append("nexus / raw latency: " + ", ".join(f"{part} {ratio}" for part, ratio in ratios.items()))
    if durable := nexus.get("raw_durable_ms"):
        said.append(f"raw latency with two commits: {_ms(durable)}")
        ratios = _latency_ratios(nexus["latency_ms"], durable)
        said.append("nexus / raw latency with two commits: " + ", ".join(f"{it} {ratios[it]}" for it in ratios))
    if disk := nexus.get("disk_ms"):
        said.append(f"its disk: a flush takes {_ms(disk)}")
    if in_memory := nexus.get("latency_ms_in_memory"):
        said.append(f"its stores in memory: {_ms(in_memory)}, what the code itself takes when the disk does not stall")
    elif "latency_ms_in_memory" in nexus:
        said.append("its stores in memory: left out, /dev/shm is missing or has less than 1 GB free")
    return said


def _ms(parts: dict[str, float]) -> str:
    return ", ".join(f"{part} {value} ms" for part, value in parts.items())
