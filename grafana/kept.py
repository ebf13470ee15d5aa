"""The dashboards of what is kept: the stores, and memories."""

from grafana.panels import RATE, dashboard, graph, number, quantiles, rate

_CALLED = rate("nexus_redis_commands_total", "command")
_SLOW = f"topk(10, {rate('nexus_redis_command_seconds_total', 'command')} / ({_CALLED} > 0))"
_HITS = 'nexus_redis_lookups_total{outcome="hit"}'
STORES = dashboard(
    "stores",
    "Stores",
    "Redis and PostgreSQL.",
    [
        number("Redis", "sum(nexus_redis_up)", help="1: it answers.", bad_below=1),
        number("Redis p99", "nexus_redis_latency_ms", "ms", "As the programs wait for it.", bad_above=10),
        number("Redis memory", "sum(nexus_redis_memory_bytes)", "bytes"),
        number("PostgreSQL", "sum(nexus_postgresql_up)", help="1: it answers.", bad_below=1),
        number("Size of the database", "sum(nexus_postgresql_size_bytes)", "bytes"),
    ],
    [
        graph(
            "Redis: waited for",
            quantiles("nexus_redis_latency_seconds", "call"),
            "s",
            "control: beats, leases, votes; data: work.",
        ),
        graph(
            "Redis: memory",
            {"used": "nexus_redis_memory_bytes", "most (0: no limit)": "nexus_redis_memory_max_bytes"},
            "bytes",
        ),
        graph("Redis: commands", {"{{command}}": f"topk(10, {rate('nexus_redis_commands_total', 'command')})"}, "ops"),
        graph("Redis: time per command", {"{{command}}": _SLOW}, "s"),
        graph(
            "Redis: keys found",
            {"share": f"sum(rate({_HITS}{RATE})) / ({rate('nexus_redis_lookups_total')} > 0)"},
            "percentunit",
        ),
        graph("Redis: keys", {"keys": "nexus_redis_keys"}),
        graph(
            "Redis: keys gone", {"{{why}}": rate("nexus_redis_keys_gone_total", "why")}, "ops", "Evicted must stay 0."
        ),
        graph(
            "Redis: clients",
            {"{{state}}": "nexus_redis_clients", "refused": rate("nexus_redis_rejected_connections_total")},
        ),
        graph("Redis: network", {"{{direction}}": rate("nexus_redis_network_bytes_total", "direction")}, "Bps"),
        graph("Redis: writes to disk", {"append-only file": "nexus_redis_persists"}, help="0: it cannot."),
        graph("Redis: uptime", "nexus_redis_uptime_seconds", "s"),
        graph(
            "PostgreSQL: connections",
            {"{{state}}": "nexus_postgresql_connections", "most": "nexus_postgresql_connections_max"},
        ),
        graph(
            "PostgreSQL: transactions", {"{{outcome}}": rate("nexus_postgresql_transactions_total", "outcome")}, "ops"
        ),
        graph("PostgreSQL: locks", {"{{state}}": "nexus_postgresql_locks"}),
        graph("PostgreSQL: deadlocks", {"broken": "increase(nexus_postgresql_deadlocks_total[5m])"}),
        graph("PostgreSQL: blocks", {"from {{from}}": rate("nexus_postgresql_blocks_total", "from")}, "ops"),
        graph("PostgreSQL: size", "nexus_postgresql_size_bytes", "bytes"),
    ],
)

MEMORIES = dashboard(
    "memories",
    "Memories",
    "What is known of people: rows, the index made of them, and how they are searched.",
    [
        number("Memories", "sum(nexus_memory_items)", help="That hold; closed ones are not in it."),
        number("Not indexed yet", "sum(nexus_memory_unindexed)", bad_above=1000),
        number("Drift", "abs(sum(nexus_memory_index_drift))", help="Rows minus documents; 0 at rest.", bad_above=1),
        number("Search p95", quantiles("nexus_memory_search_seconds")["p95"], "s", bad_above=0.5),
        number("Searches per minute", f"60 * {rate('nexus_memory_search_seconds_count')}"),
    ],
    [
        graph("Search time", quantiles("nexus_memory_search_seconds"), "s", "With the embedding of the question."),
        graph(
            "Searches",
            {"{{how}}": rate("nexus_memory_search_seconds_count", "how")},
            "ops",
            "words: without an embedder; rows: in PostgreSQL, without an index or without Redis.",
        ),
        graph(
            "What turns are told",
            {"{{outcome}}": rate("nexus_memory_recalls_total", "outcome")},
            "ops",
            "away: nothing was found out within CLUSTER_MEMORY_RECALL_WITHIN, and the answer says so.",
        ),
        graph(
            "Kept and closed",
            {"{{how}}": rate("nexus_memories_kept_total", "how")},
            "ops",
            "same: known, another source; refused: erased, overtaken or no text. The last three: what new ones closed.",
        ),
        graph(
            "Conversations wait to be read",
            {"longest": "max(nexus_memory_promotion_lag)"},
            "s",
            "Since the oldest had rested for CLUSTER_MEMORY_PROMOTION_DELAY; what was said in it is no memory yet.",
        ),
        graph("Memories", {"hold": "nexus_memory_items"}),
        graph(
            "Index",
            {"changes not indexed yet": "nexus_memory_unindexed", "rows minus documents": "nexus_memory_index_drift"},
        ),
    ],
)
