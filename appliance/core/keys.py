"""Every Redis key, stream and channel, in one place (PROTOCOLS 6.1, 7.1, 8; DESIGN part 5).

`Keys` carries the prefix (`REDIS_KEY_PREFIX`), so that one Redis can hold several clusters; with `{name}:` as prefix
all keys share one slot of a Redis Cluster. Names ending in `_TTL_S` are the lives of the keys beside them.
"""

from dataclasses import dataclass
from typing import Literal

AGENT_TTL_S = 3600
"""A record of an agent that no longer beats stays this long for people to see, then goes."""
EVENTS_TTL_S = 2 * 3600
"""Events of a conversation are kept at least an hour after its last turn (PROTOCOLS 8.3)."""
EVENTS_MAX = 20_000
"""Entries one conversation's stream may hold, about."""
WAKE_TTL_S = 60
MEMORY_GONE_TTL_S = 3600
"""Longer than a writer of documents can sleep between reading a row and writing."""


@dataclass(frozen=True)
class Keys:
    """Names of all keys under one prefix."""

    prefix: str

    @property
    def generation(self) -> str:
        """Uuid written by `initialise`; absent = Redis lost its data."""
        return f"{self.prefix}generation"

    @property
    def epoch(self) -> str:
        """Cached copy of the epoch; only rises."""
        return f"{self.prefix}epoch"

    @property
    def primary(self) -> str:
        """Hash holder, boot, epoch, seq: the lease of the primary."""
        return f"{self.prefix}primary"

    @property
    def released(self) -> str:
        """Hash epoch, successor, kind: a seat given up; gone after a second or with the next epoch."""
        return f"{self.prefix}released"

    def votes(self, epoch: int | Literal["*"]) -> str:
        """Zset voter → Redis ms: who holds the primary of this epoch to be gone."""
        return f"{self.prefix}failover:votes:{epoch}"

    @property
    def agents(self) -> str:
        """Set of agent ids ever seen and not forgotten."""
        return f"{self.prefix}agents"

    def agent(self, agent_id: str) -> str:
        """Hash: the registry's record of one agent."""
        return f"{self.prefix}agent:{agent_id}"

    def boot(self, boot: str) -> str:
        """Liveness of one boot: there while its keeper beats."""
        return f"{self.prefix}boot:{boot}"

    def suspects(self, boot: str) -> str:
        """Zset voter → Redis ms: who saw this boot's liveness connection end."""
        return f"{self.prefix}suspects:{boot}"

    def wake(self, boot: str) -> str:
        """Stream that ends a runner's current blocking read."""
        return f"{self.prefix}wake:{boot}"

    def events(self, conversation: str) -> str:
        """Stream: everything a client of this conversation sees."""
        return f"{self.prefix}conv:{conversation}:events"

    def attempts(self, conversation: str) -> str:
        """Hash turn → newest opened attempt, its agent and where its events start."""
        return f"{self.prefix}conv:{conversation}:attempts"

    def session(self, conversation: str) -> str:
        """JSON: working memory of a conversation."""
        return f"{self.prefix}session:{conversation}"

    def embedding(self, model: str, digest: str) -> str:
        """Bytes of float32: the vector of one text, by the SHA-256 of what the model was sent."""
        return f"{self.prefix}embedding:{model}:{digest}"

    def tasks(self, place: str) -> str:
        """Stream of one priority: entries tell that a row waits; `priority:needs` is that of directed work."""
        return f"{self.prefix}tasks:{place}"

    @property
    def tasks_needs(self) -> str:
        """Set of the needs that streams exist for, each sorted and joined by `+`."""
        return f"{self.prefix}tasks:needs"

    @property
    def tasks_queued(self) -> str:
        """Hash task → its entry in a stream: a row has one entry at most, however long it waits."""
        return f"{self.prefix}tasks:queued"

    @property
    def tasks_wake(self) -> str:
        """Stream of one entry: ends the blocking reads of agents that wait for tasks."""
        return f"{self.prefix}tasks:wake"

    def memory_index(self, name: str) -> str:
        """Search index of memories, and with a colon and an id the hash of one; `name` as `IndexName` writes it."""
        return f"{self.prefix}memory:{name}"

    def memory_gone(self, memory: str) -> str:
        """String: this memory was taken out of the indexes, so that a writer that slept puts it into none."""
        return f"{self.prefix}memory:gone:{memory}"

    @property
    def memory_alias(self) -> str:
        """Alias of the index that is searched."""
        return f"{self.prefix}memory:vectors"

    @property
    def memory_wanted(self) -> str:
        """Hash index → dimensions: which there should be. Runners write it, keepers make and drop indexes."""
        return f"{self.prefix}memory:wanted"

    @property
    def memory_build(self) -> str:
        """Counter: how often it was asked to build the index anew."""
        return f"{self.prefix}memory:build"

    def channel(self, topic: str) -> str:
        """Pub/sub channel of hints: agent, model, abort, config, health or task."""
        return f"{self.prefix}events:{topic}"
