"""The eight numbers that tell whether a cluster is well, and what the stores say of themselves; each with a word."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec

from appliance.core.errors import StoreAway, StoreDenies
from appliance.core.postgres import Postgres, Row
from appliance.core.redis import Redis
from appliance.core.settings import BEAT_S, Settings
from appliance.web.rendering import milliseconds, size, span
from control_plane.queries.cluster import Overview, Queries

FINE, ATTENTION, UNKNOWN = "fine", "attention", "unknown"
MOST_LOAD, MOST_PENDING, MOST_WAIT_S = 0.8, 100, 120.0
MOST_REDIS_MS, MOST_MISSED, MOST_FAILOVERS = 10.0, 2, 1
"""The alert thresholds of the customer's own document, part 11."""


class Number(msgspec.Struct, frozen=True):
    """One number with its meaning."""

    name: str
    value: str
    word: str = ""
    """fine, attention or unknown; '' for a plain fact."""
    advice: str = ""
    """What to do; said only when it asks for attention or is not known."""


class Listed(msgspec.Struct, frozen=True):
    """One line of a list of the largest or slowest."""

    name: str
    value: str
    more: str = ""


class StoresView(msgspec.Struct, frozen=True):
    """Everything the page of the stores shows; a store that is away has no facts."""

    numbers: tuple[Number, ...]
    redis: tuple[Number, ...]
    commands: tuple[Listed, ...]
    """Redis' slowest commands by their 99th percentile."""
    postgres: tuple[Number, ...]
    tables: tuple[Listed, ...]
    statements: tuple[Listed, ...]
    """What PostgreSQL runs at this moment, the longest first."""
    away: tuple[str, ...]


class StoreReads:
    """Reads of the stores about themselves."""

    def __init__(self, redis: Redis, postgres: Postgres, queries: Queries, settings: Settings) -> None:
        self._redis, self._postgres, self._queries, self._settings = redis, postgres, queries, settings

    async def view(self) -> StoresView:
        """Read all of it; what does not answer is named, never an error."""
        overview, info, work, facts, tables, statements = await asyncio.gather(
            self._queries.overview(),
            _or_none(self._redis.info()),
            _or_none(self._postgres.row("work_numbers")),
            _or_none(self._postgres.row("store_facts")),
            _or_none(self._postgres.rows("largest_tables")),
            _or_none(self._postgres.rows("slowest_now")),
        )
        latencies = latencies_of(info or {})
        return StoresView(
            numbers=(
                *cluster_numbers(overview, self._settings.cluster_min_secondaries),
                *work_numbers(work),
                Number("Memory promotion lag", "", UNKNOWN, "Measured once long-term memory is built."),
                latency_number(latencies),
            ),
            redis=redis_facts(info) if info else (),
            commands=tuple(Listed(name, milliseconds_of(p99)) for name, p99 in latencies[:6]),
            postgres=postgres_facts(facts) if facts else (),
            tables=tuple(Listed(it["name"], size(it["bytes"]), _about(it["rows"])) for it in tables or []),
            statements=tuple(Listed(it["statement"], span(it["for_s"]), it["program"]) for it in statements or []),
            away=overview.away,
        )


def _about(rows: int) -> str:
    return f"about {rows:,} rows" if rows >= 0 else "not counted yet"


async def _or_none(reading: Awaitable[Any]) -> Any:
    try:
        return await reading
    except (StoreAway, StoreDenies):
        return None


def judged(name: str, value: str, *, attention: bool, advice: str) -> Number:
    """Return a number with its word."""
    return Number(name, value, ATTENTION, advice) if attention else Number(name, value, FINE)


def cluster_numbers(overview: Overview, min_secondaries: int) -> list[Number]:
    """Judge what the registry says: agents, load, beats."""
    if "Redis" in overview.away:
        gone = "Not known while Redis is away."
        return [Number(name, "", UNKNOWN, gone) for name in ("Agents active", "Highest load", "Missed heartbeats")]
    wanted = min_secondaries + 1
    alive = [line.agent for line in overview.agents if line.agent.boot_alive]
    load = max((agent.current_load / (agent.max_load or 1) for agent in alive), default=0.0)
    missed = {agent.id: int(agent.beat_age_s / BEAT_S) for agent in alive}
    late = max(missed, key=lambda agent: missed[agent], default="")
    return [
        judged("Agents active", f"{overview.active} of {len(overview.agents)}", attention=overview.active < wanted,
               advice=f"At least {wanted} should be: look at the agents page, or nexus scale {wanted}."),
        judged("Highest load", f"{load:.0%}", attention=load > MOST_LOAD,
               advice=f"An agent is nearly full: nexus scale {len(overview.agents) + 1}."),
        judged("Missed heartbeats", str(missed.get(late, 0)), attention=missed.get(late, 0) > MOST_MISSED,
               advice=f"{late} is late: its machine may be overloaded; look at its logs."),
    ]  # fmt: skip


def work_numbers(row: Row | None) -> list[Number]:
    """Judge what the ledger says: waiting tasks, dead ones, failovers."""
    if row is None:
        gone = "Not known while PostgreSQL is away."
        return [Number(name, "", UNKNOWN, gone) for name in ("Tasks waiting", "Dead tasks", "Failovers in an hour")]
    oldest = f", the oldest for {span(row['oldest_s'])}" if row["pending"] else ""
    return [
        judged("Tasks waiting", f"{row['pending']:,}{oldest}",
               attention=row["pending"] > MOST_PENDING or row["oldest_s"] > MOST_WAIT_S,
               advice="More arrives than is done: scale up, or look whether a model is slow."),
        judged("Dead tasks", f"{row['dead']:,}", attention=row["dead"] > 0,
               advice="Each failed for good and is kept with its reason until a person looks at it."),
        judged("Failovers in an hour", f"{row['failovers_hour']} ({row['failovers_day']} in a day)",
               attention=row["failovers_hour"] > MOST_FAILOVERS,
               advice="The primary changes too often: the failovers page says why each time."),
    ]  # fmt: skip


def latencies_of(info: dict[str, Any]) -> list[tuple[str, float]]:
    """Return commands with their 99th percentile in ms, the slowest first."""
    found = [
        (name.removeprefix("latency_percentiles_usec_").replace("|", " "), float(value["p99"]) / 1000)
        for name, value in info.items()
        if name.startswith("latency_percentiles_usec_") and isinstance(value, dict) and "p99" in value
    ]
    return sorted(found, key=lambda it: -it[1])


_NOT_WORK = ("xread", "xreadgroup", "config", "save", "bgsave", "bgrewriteaof", "function", "info", "acl", "shutdown")
"""Commands that wait on purpose, or that only an operator gives."""


def latency_number(latencies: list[tuple[str, float]]) -> Number:
    """Judge the slowest command that serves work."""
    working = [(name, p99) for name, p99 in latencies if name.split()[0] not in _NOT_WORK]
    if not working:
        return Number("Redis latency p99", "", UNKNOWN, "Redis does not say; it needs version 7 and the right INFO.")
    name, p99 = working[0]
    return judged(
        "Redis latency p99", f"{milliseconds_of(p99)} ({name})", attention=p99 > MOST_REDIS_MS,
        advice="Redis is slow: a full disk, a swapping machine, or too large values.",
    )  # fmt: skip


def milliseconds_of(value: float) -> str:
    """Return a short time: 0.03 ms, 180 ms, 2.4 s."""
    return f"{value:.2f} ms" if value < 10 else milliseconds(value)


def redis_facts(info: dict[str, Any]) -> tuple[Number, ...]:
    """Judge what INFO says."""
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    keys = sum(int(it["keys"]) for name, it in info.items() if isinstance(it, dict) and "expires" in it)
    written = str(info.get("aof_last_write_status", "ok")) == "ok" and bool(info.get("aof_enabled", 0))
    return (
        Number("Version", str(info.get("redis_version", "unknown"))),
        Number("Up for", span(float(info.get("uptime_in_seconds", 0)))),
        judged("Memory", f"{size(used)} of {size(most)}" if most else f"{size(used)}, no limit is set",
               attention=0 < 0.8 * most < used, advice="Nearly full: raise maxmemory."),
        Number("Keys", f"{keys:,}"),
        Number("Clients", f"{info.get('connected_clients', 0)}, {info.get('blocked_clients', 0)} of them waiting"),
        judged("Evicted keys", f"{info.get('evicted_keys', 0):,}", attention=int(info.get("evicted_keys", 0)) > 0,
               advice="Keys were thrown away for lack of memory: use noeviction, and raise maxmemory."),
        judged("Written to disk", "yes" if written else "no", attention=not written,
               advice="The append-only file is off or its last write failed: look at the disk."),
    )  # fmt: skip


def postgres_facts(row: Row) -> tuple[Number, ...]:
    """Judge what PostgreSQL says."""
    used, most = row["connections"], row["max_connections"]
    read = row["blks_hit"] + row["blks_read"]
    return (
        Number("Version", row["version"].split(" ")[0]),
        Number("Up for", span(row["up_s"])),
        judged("Connections", f"{used} of {most}", attention=used > 0.8 * most,
               advice="Nearly all are taken: raise max_connections, or lower POSTGRES_POOL_SIZE."),
        Number("Size of the database", size(row["bytes"])),
        Number("Read from memory", f"{row['blks_hit'] / read:.1%}" if read else ""),
        judged("Waiting for a lock", str(row["waiting"]), attention=row["waiting"] > MOST_MISSED,
               advice="Statements wait for each other: the list below names what runs."),
        judged("Deadlocks", str(row["deadlocks"]), attention=row["deadlocks"] > 0,
               advice="They were retried, so nothing is lost; please report them."),
    )  # fmt: skip
