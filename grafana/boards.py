"""What each dashboard shows: five numbers, then graphs. Prometheus' names are those of `appliance/core/metrics.py`."""

from grafana.kept import MEMORIES, STORES
from grafana.panels import RATE, Json, bars, dashboard, graph, name_of, number, quantiles, rate


def _share(part: str, whole: str) -> str:
    return f"({part}) / (({whole}) > 0) or vector(0)"


CLUSTER = dashboard(
    "cluster",
    "Cluster",
    "Agents, their primary, and how failovers went.",
    [
        number("Agents active", 'sum(nexus_cluster_agents_total{status="active"})', bad_below=2),
        name_of("Primary", "nexus_agent_is_primary == 1", "agent", "The agent that believes to be primary."),
        number("Epoch", "max(nexus_cluster_epoch)", help="The number of the primary's term."),
        number("Tasks waiting", "sum(nexus_tasks_pending)", bad_above=100),
        number(
            "Failovers in 24 h",
            'round(sum(increase(nexus_failover_total{kind!~"first|switchover"}[24h])))',
            bad_above=2,
        ),
    ],
    [
        graph(
            "Load",
            {"{{agent}}": "nexus_cluster_agent_load", "most": "max(nexus_cluster_agent_max_load)"},
            help="Turns that run on each agent; above the most they wait.",
        ),
        graph(
            "Agents by status",
            {
                "{{status}}": "sum by (status) (nexus_cluster_agents_total)",
                "wanted": "max(nexus_cluster_agents_desired)",
                "least": "max(nexus_min_secondaries) + 1",
            },
        ),
        graph(
            "Who is primary",
            {"{{agent}}": "nexus_agent_is_primary"},
            stacked=True,
            help="As each agent believes: never more than 1 in sum for longer than a scrape.",
        ),
        bars("Newest failover", "nexus_failover_part_seconds", "part", "s", "detect, agree, elect, promote."),
        graph("Failover by part", {"{{part}}": "nexus_failover_part_seconds"}, "s", stacked=True),
        graph(
            "Elections",
            {"{{kind}}": "round(increase(nexus_failover_total[5m]))"},
            help="Within five minutes, by cause.",
        ),
        graph("Heartbeat age", {"{{agent}}": "nexus_heartbeat_age_seconds"}, "s"),
        graph("Missed beats", {"{{agent}}": "nexus_heartbeat_missed"}, help="In a row; agents beat twice a second."),
        graph("Epoch each agent knows", {"{{agent}}": "nexus_agent_epoch"}),
        graph(
            "Event loop lag",
            {"{{agent}}": "nexus_agent_loop_lag_seconds"},
            "s",
            "High: the machine or the agent is busy.",
        ),
        graph(
            "Writes refused",
            {"{{agent}}": rate("nexus_stale_writes_refused_total", "agent")},
            "ops",
            "Of overtaken attempts: the fence at work.",
        ),
        graph(
            "CPU",
            {"{{instance}}": f'rate(process_cpu_seconds_total{{job!="prometheus"}}{RATE})'},
            "percentunit",
            "Of one core. An agent's keeper is not in it.",
        ),
    ],
)

TASKS = dashboard(
    "tasks",
    "Tasks",
    "Turns from acceptance to commit.",
    [
        number("Waiting", "sum(nexus_tasks_pending)", bad_above=100),
        number("Running", "sum(nexus_tasks_running)"),
        number("Oldest waiting", "max(nexus_tasks_oldest_seconds)", "s", bad_above=120),
        number("Dead letters", "sum(nexus_tasks_dead)", bad_above=1),
        number("Nobody can do", "sum(nexus_tasks_unservable)", bad_above=1),
        number("Ended per minute", f"60 * {rate('nexus_turns_total')}"),
    ],
    [
        graph(
            "Accepted",
            {"{{route}}": rate("nexus_turns_accepted_total", "route")},
            "ops",
            "direct: run where they were accepted; distributed: by whoever has room; waiting: for the turn before.",
        ),
        graph("Ended", {"{{state}}": rate("nexus_turns_total", "state")}, "ops"),
        graph("Share of each agent", {"{{agent}}": rate("nexus_turns_total", "agent")}, "ops", stacked=True),
        graph("Wait", quantiles("nexus_turn_wait_seconds"), "s", "From the moment a turn could run to its claim."),
        graph("Run time", quantiles("nexus_turn_seconds"), "s", "From claim to commit."),
        graph(
            "Taken over",
            {"{{agent}}": rate("nexus_attempts_restarted_total", "agent")},
            "ops",
            "Turns of dead or silent agents that another one went on with.",
        ),
        graph(
            "Tasks published",
            {"{{kind}}": rate("nexus_tasks_published_total", "kind")},
            "ops",
            "What turns hand to other agents, sub-agents among it.",
        ),
        graph("Tasks ended", {"{{kind}} {{state}}": rate("nexus_tasks_ended_total", "kind, state")}, "ops"),
        graph(
            "Reminders and jobs: late by",
            quantiles("nexus_schedule_lateness_seconds"),
            "s",
            "From the instant one was due to its turn: a second at most, but for what an outage made late.",
        ),
        graph(
            "Reminders and jobs",
            {"{{outcome}}": rate("nexus_schedules_fired_total", "outcome")},
            "ops",
            "skipped: runs that were missed and wanted no late one.",
        ),
        graph("Calls of tools", {"{{tool}} {{state}}": rate("nexus_tool_calls_total", "tool, state")}, "ops"),
        graph(
            "What was said before",
            {"{{source}}": rate("nexus_session_sources_total", "source")},
            "ops",
            "Where turns read it. redis: the session; rows: PostgreSQL, when the session expired or was lost.",
        ),
        graph("Waiting by priority", {"{{priority}}": "sum by (priority) (nexus_tasks_pending)"}, stacked=True),
        graph("Oldest waiting", {"{{priority}}": "max by (priority) (nexus_tasks_oldest_seconds)"}, "s"),
        graph("Running and dead", {"running": "sum(nexus_tasks_running)", "dead": "sum(nexus_tasks_dead)"}),
    ],
)

_CALLS = "nexus_model_calls_total"
_WRONG = f'sum(rate({_CALLS}{{outcome=~"failed|broke"}}{RATE}))'
MODELS = dashboard(
    "models",
    "Models",
    "Calls of language models.",
    [
        number("Calls per minute", f"60 * {rate(_CALLS)}"),
        number("Errors", _share(_WRONG, rate(_CALLS)), "percentunit", bad_above=0.05),
        number("Fallbacks", _share(rate("nexus_model_fallbacks_total"), rate(_CALLS)), "percentunit"),
        number("Tokens per second", f'sum(rate(nexus_model_tokens_total{{kind="output"}}{RATE}))'),
        number("Paused", "sum(nexus_model_paused)", help="Agents times models left alone after failures.", bad_above=1),
    ],
    [
        graph("Calls by model", {"{{model}}": rate(_CALLS, "model")}, "ops"),
        graph(
            "Calls by outcome",
            {"{{outcome}}": rate(_CALLS, "outcome")},
            "ops",
            "done; failed: said nothing; broke: in the middle; stopped: by its user or by a takeover.",
        ),
        graph("Time to first token", quantiles("nexus_time_to_first_token_seconds"), "s"),
        graph("Tokens by model", {"{{model}} {{kind}}": rate("nexus_model_tokens_total", "model, kind")}, "ops"),
        graph("Fallbacks", {"{{model}}": rate("nexus_model_fallbacks_total", "model")}, "ops"),
        graph(
            "Circuit open", {"{{agent}} {{model}}": "nexus_model_paused"}, help="1: left alone until its next probe."
        ),
        graph("Embedder", {"up": "max(nexus_embedder_up)"}, help="1: it answers. 0: memories are found by words only."),
        graph(
            "Requests to the embedder",
            {"{{outcome}}": rate("nexus_embedding_requests_total", "outcome")},
            "ops",
            "failed: no usable answer; refused: its settings are wrong.",
        ),
        graph(
            "Time of a request to the embedder",
            {"mean": _share(rate("nexus_embedding_seconds_sum"), rate("nexus_embedding_seconds_count"))},
            "s",
        ),
        graph(
            "Vectors known already",
            {"{{outcome}}": rate("nexus_embedding_cache_total", "outcome")},
            "ops",
            "hit: the same text was asked for before.",
        ),
        graph("Chunks relayed", {"{{agent}}": rate("nexus_tokens_streamed_total", "agent")}, "ops"),
    ],
)

_REQUESTS = "nexus_gateway_requests_total"
_ERRORS = f'sum(rate({_REQUESTS}{{status=~"5.."}}{RATE}))'
GATEWAY = dashboard(
    "gateway",
    "Gateway",
    "What people get from nginx, and what the programs behind it answer.",
    [
        number("nginx", "sum(nexus_gateway_up)", help="1: it answers.", bad_below=1),
        number("Requests per second", rate(_REQUESTS), "reqps"),
        number("Errors (5xx)", _share(_ERRORS, rate(_REQUESTS)), "percentunit", bad_above=0.05),
        number("Answers begin (p95)", quantiles("nexus_gateway_response_seconds")["p95"], "s", bad_above=3),
        number("Connections", "sum(nexus_gateway_connections)"),
    ],
    [
        graph("Requests by status", {"{{status}}": rate(_REQUESTS, "status")}, "reqps", stacked=True),
        graph("Until an answer begins", quantiles("nexus_gateway_response_seconds"), "s"),
        graph(
            "Agents asked",
            {
                "{{outcome}}": rate("nexus_gateway_upstream_tries_total", "outcome"),
                "asked again": rate("nexus_gateway_retries_total"),
            },
            "reqps",
            "error: no answer, or a 5xx. Asked again: another agent was asked for the same request.",
        ),
        graph(
            "Open streams",
            {"{{agent}}": "nexus_open_streams"},
            help="Clients that follow a conversation.",
            stacked=True,
        ),
        graph("Connections", {"clients": "nexus_gateway_connections", "agents listed": "nexus_gateway_agents"}),
        graph(
            "Behind the gateway, by status",
            {"{{job}} {{status}}": rate("nexus_http_request_seconds_count", "job, status")},
            "reqps",
        ),
        graph(
            "Behind the gateway, by route",
            {"{{job}} {{method}} {{route}}": rate("nexus_http_request_seconds_count", "job, method, route")},
            "reqps",
        ),
        graph(
            "Mean time by route",
            {
                "{{job}} {{route}}": f"{rate('nexus_http_request_seconds_sum', 'job, route')} / "
                f"({rate('nexus_http_request_seconds_count', 'job, route')} > 0)"
            },
            "s",
        ),
    ],
)

BOARDS: dict[str, Json] = {
    "cluster": CLUSTER,
    "tasks": TASKS,
    "models": MODELS,
    "gateway": GATEWAY,
    "stores": STORES,
    "memories": MEMORIES,
}
