"""Every Prometheus metric of the appliance, with unit and help. Names of the seed's part 11 are kept."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

AGENT_LOAD = Gauge("nexus_cluster_agent_load", "Turns this agent runs now.")
AGENT_MAX_LOAD = Gauge("nexus_cluster_agent_max_load", "Turns this agent runs at most.")
TURNS_ENDED = Counter("nexus_turns_total", "Turns that ended on this agent.", ["state"])
TURNS_ACCEPTED = Counter("nexus_turns_accepted_total", "Turns committed by this edge.", ["route"])
ATTEMPTS_RESTARTED = Counter("nexus_attempts_restarted_total", "Turns taken over from a dead or silent boot.")
STALE_REFUSED = Counter("nexus_stale_writes_refused_total", "Writes of overtaken attempts that a fence refused.")
FIRST_TOKEN = Histogram("nexus_time_to_first_token_seconds", "From claim to the first token.", buckets=_SECONDS)
MODEL_CALLS = Counter("nexus_model_calls_total", "Model calls by model and outcome.", ["model", "outcome"])
MODEL_FALLBACKS = Counter("nexus_model_fallbacks_total", "Calls answered by another model than the first.", ["model"])
TOKENS_STREAMED = Counter("nexus_tokens_streamed_total", "Chunks relayed to event streams.")
OPEN_STREAMS = Gauge("nexus_open_streams", "Clients that follow a conversation on this agent.")
