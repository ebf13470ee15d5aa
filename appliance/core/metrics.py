"""Every Prometheus metric of the appliance, with unit and help. Names of the seed's part 11 are kept.

Three kinds of home: what every web program counts (the default registry), what an agent knows of itself (`AGENT`), what
the gateway sees (`GATEWAY`), and what is read from a store at the moment of a scrape (`Reading`, by the control plane).
Children of labelled metrics are kept by whoever counts often: nothing looks labels up for each token.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.metrics_core import Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_STORE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 2.0)

AGENT, GATEWAY = CollectorRegistry(), CollectorRegistry()
disable_created_metrics()  # type: ignore[no-untyped-call]


class Measured(Protocol):
    """Something Prometheus' text can be made of."""

    def collect(self) -> Iterable[Metric]:
        """Yield metrics with their samples."""


# Every web program --------------------------------------------------------------------------------------------------
HTTP_SECONDS = Histogram(
    "nexus_http_request_seconds", "From a request to the beginning of its answer.", ["method", "route", "status"],
    buckets=(0.005, 0.025, 0.1, 0.5, 1.0, 5.0),
)  # fmt: skip
REDIS_LATENCY = Histogram(
    "nexus_redis_latency_seconds", "A call of Redis as this program waits for it.", ["call"], buckets=_STORE
)

# An agent of itself -------------------------------------------------------------------------------------------------
AGENT_LOAD = Gauge("nexus_cluster_agent_load", "Turns this agent runs now.", registry=AGENT)
AGENT_MAX_LOAD = Gauge("nexus_cluster_agent_max_load", "Turns this agent runs at most.", registry=AGENT)
AGENT_IS_PRIMARY = Gauge("nexus_agent_is_primary", "1 while this agent may act as primary.", registry=AGENT)
AGENT_EPOCH = Gauge("nexus_agent_epoch", "The newest term this agent knows.", registry=AGENT)
AGENT_LOOP_LAG = Gauge("nexus_agent_loop_lag_seconds", "How late this agent's event loop was last.", registry=AGENT)
TURNS_ACCEPTED = Counter("nexus_turns_accepted_total", "Turns committed by this edge.", ["route"], registry=AGENT)
TURNS_ENDED = Counter("nexus_turns_total", "Turns that ended on this agent.", ["state"], registry=AGENT)
TASKS_PUBLISHED = Counter("nexus_tasks_published_total", "Tasks put up here.", ["kind"], registry=AGENT)
TASKS_ENDED = Counter("nexus_tasks_ended_total", "Tasks that ended on this agent.", ["kind", "state"], registry=AGENT)
TOOL_CALLS = Counter("nexus_tool_calls_total", "Calls of tools that ended here.", ["tool", "state"], registry=AGENT)
TASKS_BRAKED = Gauge(
    "nexus_tasks_braked", "1 while this agent fetches no tasks, since its runners died.", registry=AGENT
)
TURN_WAIT = Histogram(
    "nexus_turn_wait_seconds", "From the moment a turn could run to its claim.", buckets=_LONG, registry=AGENT
)
TURN_SECONDS = Histogram("nexus_turn_seconds", "From claim to commit.", buckets=_LONG, registry=AGENT)
SCHEDULES_FIRED = Counter(
    "nexus_schedules_fired_total", "Instants of reminders and jobs: fired, or skipped as missed.", ["outcome"],
    registry=AGENT,
)  # fmt: skip
SCHEDULE_LATENESS = Histogram(
    "nexus_schedule_lateness_seconds", "From the instant a reminder or job was due to its turn.",
    buckets=(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0), registry=AGENT,
)  # fmt: skip
ATTEMPTS_RESTARTED = Counter(
    "nexus_attempts_restarted_total", "Turns taken over from a dead or silent boot.", registry=AGENT
)
STALE_REFUSED = Counter(
    "nexus_stale_writes_refused_total", "Writes of overtaken attempts that a fence refused.", registry=AGENT
)
FIRST_TOKEN = Histogram(
    "nexus_time_to_first_token_seconds", "From claim to the first token.", buckets=_SECONDS, registry=AGENT
)
MODEL_CALLS = Counter(
    "nexus_model_calls_total", "Model calls by outcome: done, failed, broke, stopped.", ["model", "outcome"],
    registry=AGENT,
)  # fmt: skip
MODEL_FALLBACKS = Counter(
    "nexus_model_fallbacks_total", "Answers of another model than the preferred one.", ["model"], registry=AGENT
)
MODEL_TOKENS = Counter("nexus_model_tokens_total", "Tokens as the provider counts.", ["model", "kind"], registry=AGENT)
MODEL_PAUSED = Gauge("nexus_model_paused", "1 while a model is left alone after failures.", ["model"], registry=AGENT)
EMBEDDING_REQUESTS = Counter(
    "nexus_embedding_requests_total", "Requests to the embedder by outcome: done, failed, refused.", ["outcome"],
    registry=AGENT,
)  # fmt: skip
EMBEDDING_SECONDS = Histogram(
    "nexus_embedding_seconds", "One request to the embedder.", buckets=_SECONDS, registry=AGENT
)
EMBEDDING_CACHE = Counter(
    "nexus_embedding_cache_total", "Texts whose vector was known already: hit or miss.", ["outcome"], registry=AGENT
)
MEMORY_SEARCH_SECONDS = Histogram(
    "nexus_memory_search_seconds", "A search in memories: by meaning and words, by words, or in rows.", ["how"],
    buckets=_STORE, registry=AGENT,
)  # fmt: skip
MEMORY_RECALLS = Counter(
    "nexus_memory_recalls_total", "Turns by what they were told of their person: memories, nothing, away (unknown).",
    ["outcome"], registry=AGENT,
)  # fmt: skip
MEMORIES_KEPT = Counter(
    "nexus_memories_kept_total",
    "What became of items to be remembered: kept, same, refused; and of memories: refined, contradicted, merged.",
    ["how"], registry=AGENT,
)  # fmt: skip
TOKENS_STREAMED = Counter("nexus_tokens_streamed_total", "Chunks relayed to event streams.", registry=AGENT)
SESSION_SOURCES = Counter(
    "nexus_session_sources_total", "Where turns read what was said before them: redis, or rows when it did not know.",
    ["source"], registry=AGENT,
)  # fmt: skip
OPEN_STREAMS = Gauge("nexus_open_streams", "Clients that follow a conversation on this agent.", registry=AGENT)

# Known from the start, so that the first one counts as an increase and not as a beginning.
for _state in ("done", "failed", "cancelled"):
    TURNS_ENDED.labels(_state)
for _how in ("kept", "same", "refused", "refined", "contradicted", "merged"):
    MEMORIES_KEPT.labels(_how)
for _outcome in ("memories", "nothing", "away"):
    MEMORY_RECALLS.labels(_outcome)
for _source in ("redis", "rows"):
    SESSION_SOURCES.labels(_source)
for _route in ("direct", "distributed", "orchestrate", "waiting"):
    TURNS_ACCEPTED.labels(_route)
for _outcome in ("done", "failed", "refused"):
    EMBEDDING_REQUESTS.labels(_outcome)
for _how in ("meaning", "words", "rows"):
    MEMORY_SEARCH_SECONDS.labels(_how)
for _outcome in ("hit", "miss"):
    EMBEDDING_CACHE.labels(_outcome)
for _outcome in ("fired", "skipped"):
    SCHEDULES_FIRED.labels(_outcome)
for _state in ("done", "failed"):
    TOOL_CALLS.labels("spawn_sub_agent", _state)
for _kind in ("sub_agent", "promote"):
    TASKS_PUBLISHED.labels(_kind)
    for _state in ("done", "dead", "cancelled"):
        TASKS_ENDED.labels(_kind, _state)

# The gateway --------------------------------------------------------------------------------------------------------
GATEWAY_UP = Gauge("nexus_gateway_up", "1 when nginx answers.", registry=GATEWAY)
GATEWAY_REQUESTS = Counter("nexus_gateway_requests_total", "Requests by status.", ["status"], registry=GATEWAY)
GATEWAY_SECONDS = Histogram(
    "nexus_gateway_response_seconds", "From a request to the beginning of its answer.", buckets=_SECONDS,
    registry=GATEWAY,
)  # fmt: skip
GATEWAY_TRIES = Counter(
    "nexus_gateway_upstream_tries_total", "Agents asked, by what each answered: ok or error.", ["outcome"],
    registry=GATEWAY,
)  # fmt: skip
GATEWAY_RETRIES = Counter(
    "nexus_gateway_retries_total", "Requests that more than one agent was asked for.", registry=GATEWAY
)
GATEWAY_CONNECTIONS = Gauge("nexus_gateway_connections", "Connections of clients.", registry=GATEWAY)
GATEWAY_AGENTS = Gauge("nexus_gateway_agents", "Agents in the gateway's list.", registry=GATEWAY)

_COUNTS_WHAT_IS_THERE = "nexus_cluster_agents_total"
"""The seed's name; it goes down, too."""
Samples = Mapping[tuple[str, ...], float] | float


class Reading(NamedTuple):
    """A metric whose values are read from a store at each scrape; a counter's name ends in `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        """What Prometheus is told it is."""
        return "counter" if self.name.endswith("_total") and self.name != _COUNTS_WHAT_IS_THERE else "gauge"

    def of(self, samples: Samples) -> Metric:
        """Give it its values: by values of its labels, or one."""
        metric = Metric(self.name.removesuffix("_total") if self.kind == "counter" else self.name, self.help, self.kind)
        for values, value in samples.items() if isinstance(samples, Mapping) else [((), samples)]:
            metric.add_sample(self.name, dict(zip(self.labels, values, strict=True)), float(value))
        return metric


# The cluster, as the stores know it ---------------------------------------------------------------------------------
AGENTS = Reading(_COUNTS_WHAT_IS_THERE, "Agents by status.", ("status",))
AGENTS_DESIRED = Reading("nexus_cluster_agents_desired", "Agents that should run.")
MIN_SECONDARIES = Reading("nexus_min_secondaries", "CLUSTER_MIN_SECONDARIES.")
EPOCH = Reading("nexus_cluster_epoch", "The term in force.")
BEAT_AGE = Reading("nexus_heartbeat_age_seconds", "Since an agent's last beat, by Redis' clock.", ("agent",))
BEATS_MISSED = Reading("nexus_heartbeat_missed", "Beats in a row that an agent has missed.", ("agent",))
TASKS_PENDING = Reading("nexus_tasks_pending", "Tasks that wait for an agent.", ("priority",))
TASKS_RUNNING = Reading("nexus_tasks_running", "Tasks that run.")
TASKS_OLDEST = Reading("nexus_tasks_oldest_seconds", "How long the first in line has waited.", ("priority",))
TASKS_DEAD = Reading("nexus_tasks_dead", "Dead letters.")
TASKS_UNSERVABLE = Reading("nexus_tasks_unservable", "Tasks that wait and need what no agent has.")
FAILOVERS = Reading("nexus_failover_total", "Elections by what spoke against the old primary.", ("kind",))
FAILOVER_AT = Reading("nexus_failover_timestamp_seconds", "When the newest primary was elected.", ("primary", "kind"))
FAILOVER_PART = Reading("nexus_failover_part_seconds", "Parts of the newest failover.", ("part",))
MEMORY_LAG = Reading("nexus_memory_promotion_lag", "Seconds the oldest conversation that is due waits to be read.")

# The stores ---------------------------------------------------------------------------------------------------------
REDIS_UP = Reading("nexus_redis_up", "1 when Redis answers.")
REDIS_UPTIME = Reading("nexus_redis_uptime_seconds", "Since Redis was started.")
REDIS_PERSISTS = Reading("nexus_redis_persists", "1 while Redis can write its append-only file.")
REDIS_MEMORY = Reading("nexus_redis_memory_bytes", "Memory that Redis uses.")
REDIS_MEMORY_MAX = Reading("nexus_redis_memory_max_bytes", "Memory that Redis may use; 0 is no limit.")
REDIS_CLIENTS = Reading("nexus_redis_clients", "Clients by state.", ("state",))
REDIS_REJECTED = Reading("nexus_redis_rejected_connections_total", "Connections refused at Redis' limit.")
REDIS_COMMANDS = Reading("nexus_redis_commands_total", "Commands carried out.", ("command",))
REDIS_COMMAND_SECONDS = Reading("nexus_redis_command_seconds_total", "Time commands took inside Redis.", ("command",))
REDIS_LOOKUPS = Reading("nexus_redis_lookups_total", "Keys looked up.", ("outcome",))
REDIS_GONE = Reading("nexus_redis_keys_gone_total", "Keys that went by themselves.", ("why",))
REDIS_NETWORK = Reading("nexus_redis_network_bytes_total", "Bytes over the network.", ("direction",))
REDIS_KEYS = Reading("nexus_redis_keys", "Keys.")
EMBEDDER_UP = Reading("nexus_embedder_up", "1 when the embedder answers.")
MEMORY_ITEMS = Reading("nexus_memory_items", "Memories that hold.")
MEMORY_UNINDEXED = Reading("nexus_memory_unindexed", "Changes of memories that the index does not hold yet.")
MEMORY_DRIFT = Reading("nexus_memory_index_drift", "Memories that hold minus documents of the index.")
POSTGRES_UP = Reading("nexus_postgresql_up", "1 when PostgreSQL answers.")
POSTGRES_CONNECTIONS = Reading("nexus_postgresql_connections", "Connections by state.", ("state",))
POSTGRES_CONNECTIONS_MAX = Reading("nexus_postgresql_connections_max", "max_connections.")
POSTGRES_SIZE = Reading("nexus_postgresql_size_bytes", "Size of the database.")
POSTGRES_LOCKS = Reading("nexus_postgresql_locks", "Locks that are held or waited for.", ("state",))
POSTGRES_TRANSACTIONS = Reading("nexus_postgresql_transactions_total", "Transactions ended.", ("outcome",))
POSTGRES_DEADLOCKS = Reading("nexus_postgresql_deadlocks_total", "Deadlocks that PostgreSQL broke.")
POSTGRES_BLOCKS = Reading("nexus_postgresql_blocks_total", "Blocks read, from memory or from disk.", ("from",))

READINGS: tuple[Reading, ...] = tuple(it for it in list(globals().values()) if isinstance(it, Reading))


class Taken(NamedTuple):
    """Readings taken for one scrape."""

    metrics: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        """Yield them."""
        return self.metrics


def exposition(*more: Measured) -> bytes:
    """Return Prometheus' text of this process's own numbers and of `more`."""
    return b"".join(generate_latest(source) for source in (REGISTRY, *more))


def serve(host: str, port: int, registry: CollectorRegistry) -> None:
    """Serve a registry over HTTP from a thread of its own, for a program without a web server."""
    start_http_server(port, addr=host, registry=registry)
