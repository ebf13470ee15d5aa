"""What Prometheus reads here: the cluster and the stores, asked at the moment of a scrape."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prometheus_client.metrics_core import Metric

from appliance.core import logs
from appliance.core import metrics as m
from appliance.core.embeddings import HttpEmbedder
from appliance.core.errors import NexusError, NoIndex
from appliance.core.memory.index import MemoryIndex
from appliance.core.memory.promotions import Promotions
from appliance.core.postgres import Postgres, Row
from appliance.core.records import ClusterView
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import BEAT_S, Settings
from control_plane.queries import state_of

log = logs.get("control-plane")
ANSWER_S = 2.0
"""A store that says nothing for so long is down for this scrape; its late answer serves the next one."""
STATES = ("active", "starting", "draining", "suspected", "failed", "left")
KINDS = ("first", "eof", "lease", "dead", "released", "switchover")
PRIORITIES = ("high", "normal", "low")
CONNECTION_STATES = ("active", "idle", "idle in transaction")
Read = Callable[[], Awaitable[list[Metric]]]


class Measured:
    """Reads for one scrape; each source on its own, so that one store's silence does not hide the other."""

    def __init__(self, redis: Redis, postgres: Postgres, settings: Settings) -> None:
        self._registry, self._redis, self._postgres = Registry(redis), redis, postgres
        self._index = MemoryIndex(redis)
        self._settings = settings
        self._embedder = HttpEmbedder(settings)
        self._promotions = Promotions(postgres, delay_s=settings.cluster_memory_promotion_delay)
        self._under_way: dict[str, asyncio.Task[list[Metric] | None]] = {}

    async def text(self) -> bytes:
        """Return Prometheus' text."""
        reads: dict[str, Read] = {"agents": self._agents, "redis": self._redis_numbers, "work": self._work}
        reads |= {"database": self._database, "index": self._drift}
        reads |= {"embedder": self._answers} if self._settings.embedding_url else {}
        found = dict(zip(reads, await asyncio.gather(*(self._asked(*it) for it in reads.items())), strict=True))
        metrics = [metric for read in found.values() for metric in read or ()]
        metrics += [
            m.REDIS_UP.of(found["redis"] is not None),
            m.POSTGRES_UP.of(found["database"] is not None),
            m.MIN_SECONDARIES.of(self._settings.cluster_min_secondaries),
        ]
        metrics += [m.EMBEDDER_UP.of(found["embedder"] is not None)] if "embedder" in found else []
        return m.exposition(m.Taken(tuple(metrics)))

    async def aclose(self) -> None:
        """Close what is this one's own."""
        await self._embedder.aclose()

    async def _asked(self, name: str, read: Read) -> list[Metric] | None:
        """Return what was read, or None. Not cancelled when late: a half-read reply belongs to nobody else."""
        task = self._under_way.get(name)
        if task is None or task.done():
            task = self._under_way[name] = asyncio.create_task(_or_none(read), name=f"measure {name}")
        done, _ = await asyncio.wait({task}, timeout=ANSWER_S)
        return task.result() if done else None

    async def _agents(self) -> list[Metric]:
        return agents(await self._registry.view(), threshold=self._settings.cluster_failure_threshold)

    async def _work(self) -> list[Metric]:
        postgres = self._postgres
        pending, failovers = await postgres.rows("measured_pending"), await postgres.rows("measured_failovers")
        newest, counted = await postgres.row("measured_newest_failover"), await postgres.row("measured_work")
        remembered = await postgres.row("measured_memories") or {}
        known = [m.MEMORY_ITEMS.of(remembered["items"]), m.MEMORY_UNINDEXED.of(remembered["unindexed"])]
        known.append(m.MEMORY_LAG.of(await self._promotions.lag_s()))
        return work(pending, counted or {}) + elections(failovers, newest) + known

    async def _drift(self) -> list[Metric]:
        held = (await self._postgres.row("measured_memories") or {})["items"]
        try:
            documents = await self._index.documents()
        except NoIndex:
            documents = 0
        return [m.MEMORY_DRIFT.of(held - documents)]

    async def _database(self) -> list[Metric]:
        postgres = self._postgres
        connections, locks = await postgres.rows("measured_connections"), await postgres.row("measured_locks")
        return database(await postgres.row("measured_database") or {}, connections, locks or {})

    async def _answers(self) -> list[Metric]:
        await self._embedder.ping()
        return []

    async def _redis_numbers(self) -> list[Metric]:
        return redis_numbers(await self._redis.info())


async def _or_none(read: Read) -> list[Metric] | None:
    try:
        return await read()
    except (NexusError, LookupError, ValueError) as error:  # another store's version may not tell everything
        log.info("not_measured", error=repr(error))
        return None


def agents(view: ClusterView, *, threshold: int) -> list[Metric]:
    """Say how many agents are in which state, and how regularly each beats; those that left are not missed."""
    states = Counter(state_of(agent, threshold=threshold) for agent in view.agents)
    there = [agent for agent in view.agents if state_of(agent, threshold=threshold) != "left"]
    return [
        m.AGENTS.of({(state,): states[state] for state in STATES}),
        m.BEAT_AGE.of({(agent.id,): agent.beat_age_s for agent in there}),
        m.BEATS_MISSED.of({(agent.id,): int(agent.beat_age_s / BEAT_S) for agent in there}),
    ]


def work(pending: list[Row], counted: Mapping[str, Any]) -> list[Metric]:
    """Say what waits, runs and is dead."""
    by_priority = {row["priority"]: row for row in pending}
    none = {"pending": 0, "oldest_s": 0.0}
    return [
        m.TASKS_PENDING.of({(it,): by_priority.get(it, none)["pending"] for it in PRIORITIES}),
        m.TASKS_OLDEST.of({(it,): max(0.0, by_priority.get(it, none)["oldest_s"]) for it in PRIORITIES}),
        m.TASKS_RUNNING.of(counted["running"]),
        m.TASKS_DEAD.of(counted["dead"]),
        m.TASKS_UNSERVABLE.of(counted["unservable"]),
        m.EPOCH.of(counted["epoch"]),
        m.AGENTS_DESIRED.of(counted["desired"] or 0),
    ]


def elections(failovers: list[Row], newest: Row | None) -> list[Metric]:
    """Say how many elections there were, and how the newest went. Parts that were not measured are left out."""
    counts = {row["kind"]: row["number"] for row in failovers}
    found = [m.FAILOVERS.of({(kind,): counts.get(kind, 0) for kind in dict.fromkeys((*KINDS, *counts))})]
    if newest is not None:
        parts = {(part,): newest[f"{part}_ms"] for part in ("detect", "agree", "elect", "promote")}
        found.append(m.FAILOVER_AT.of({(newest["new_primary"], newest["kind"]): newest["at"]}))
        found.append(m.FAILOVER_PART.of({part: ms / 1000 for part, ms in parts.items() if ms is not None}))
    return found


def database(row: Mapping[str, Any], connections: list[Row], locks: Mapping[str, Any]) -> list[Metric]:
    """Say how PostgreSQL fares."""
    by_state = {row["state"]: row["number"] for row in connections}
    return [
        m.POSTGRES_CONNECTIONS.of(
            {(it,): by_state.get(it, 0) for it in dict.fromkeys((*CONNECTION_STATES, *by_state))}
        ),
        m.POSTGRES_CONNECTIONS_MAX.of(row["max_connections"]),
        m.POSTGRES_SIZE.of(row["size"]),
        m.POSTGRES_LOCKS.of({("held",): locks["held"], ("waiting",): locks["waiting"]}),
        m.POSTGRES_TRANSACTIONS.of({("committed",): row["xact_commit"], ("rolled back",): row["xact_rollback"]}),
        m.POSTGRES_DEADLOCKS.of(row["deadlocks"]),
        m.POSTGRES_BLOCKS.of({("memory",): row["blks_hit"], ("disk",): row["blks_read"]}),
    ]


def redis_numbers(info: Mapping[str, Any]) -> list[Metric]:
    """Say how Redis fares."""
    commands = {name.removeprefix("cmdstat_"): said for name, said in info.items() if name.startswith("cmdstat_")}
    return [
        m.REDIS_UPTIME.of(info["uptime_in_seconds"]),
        m.REDIS_PERSISTS.of(info["aof_enabled"] == 1 and info["aof_last_write_status"] == "ok"),
        m.REDIS_MEMORY.of(info["used_memory"]),
        m.REDIS_MEMORY_MAX.of(info["maxmemory"]),
        m.REDIS_CLIENTS.of({("connected",): info["connected_clients"], ("blocked",): info["blocked_clients"]}),
        m.REDIS_REJECTED.of(info["rejected_connections"]),
        m.REDIS_COMMANDS.of({(name,): said["calls"] for name, said in commands.items()}),
        m.REDIS_COMMAND_SECONDS.of({(name,): said["usec"] / 1e6 for name, said in commands.items()}),
        m.REDIS_LOOKUPS.of({("hit",): info["keyspace_hits"], ("miss",): info["keyspace_misses"]}),
        m.REDIS_GONE.of({("expired",): info["expired_keys"], ("evicted",): info["evicted_keys"]}),
        m.REDIS_NETWORK.of({("in",): info["total_net_input_bytes"], ("out",): info["total_net_output_bytes"]}),
        m.REDIS_KEYS.of(
            sum(said["keys"] for name, said in info.items() if name.startswith("db") and name[2:].isdigit())
        ),
    ]
