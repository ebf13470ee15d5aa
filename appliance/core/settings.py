"""One frozen object with everything that can be set from outside, read once at start.

Names are environment variables in lower case (`REDIS_URL` → `redis_url`). Secrets may also come as files of the same
lower-case name in the folder `NEXUS_SECRETS_DIR`, so that they never stand in an environment dump.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from appliance.core import needs
from appliance.core.clock import zone
from appliance.core.errors import SettingsError
from appliance.core.failover_bounds import LEASE_S as LEASE_S
from appliance.core.failover_bounds import broken_promise, worst_cases

BEAT_S = 0.5
"""Keepers beat this often whatever is set: the 2 s boot key and the 1.6 s self-fence assume it (PROTOCOLS 6.1)."""
CONTROL_CALL_S = 0.3
"""Time-out of a control call to Redis: `BEAT_S + 2 * CONTROL_CALL_S <= 0.8 * LEASE_S`."""
KEY_PREFIX = "nexus:"
BUNDLED_EMBEDDER = "multilingual-e5-small"
_URLS = ("redis_url", "postgres_url", "model_url", "ollama_url", "anthropic_url", "public_url", "embedding_url")
_WINDOW = 8192
_WINDOWS = {"bundled/": 2048, "ollama/": 4096, "claude/": 200_000}
"""Tokens of a model's window by how its name begins, where nobody says: what servers give a call by default."""


class Settings(BaseSettings):
    """Settings of every program of the appliance."""

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")

    cluster_agent_id: str = Field(default_factory=lambda: f"agent-{uuid.uuid4().hex[:8]}", max_length=64)
    """Name of this agent; must be unique in the cluster. Letters, digits, dot, dash, underscore."""
    cluster_role: Literal["auto", "primary", "secondary", "standby"] = "auto"
    """Which role this agent may take. `auto` lets the cluster decide."""
    cluster_max_load: int = Field(default=20, ge=1, le=10_000)
    """Turns one agent runs at a time; above it a turn waits, visibly queued."""
    cluster_max_queued: int = Field(default=1000, ge=1)
    """Turns that may wait in the whole cluster; above it a message is answered 429 with Retry-After."""
    cluster_max_tasks: int = Field(default=20, ge=1, le=10_000)
    """Tasks one agent runs at a time, beside its turns."""
    cluster_max_queued_tasks: int = Field(default=10_000, ge=1)
    """Tasks of one person that may wait; above it more are answered 429 with Retry-After."""
    cluster_capabilities: str = ""
    """What this agent can and not every other, as words separated by commas (`gpu,web`): tasks may need it."""
    task_timeout: float = Field(default=600.0, gt=0)
    """Seconds one try of a task may take."""
    multi_max_tokens: int = Field(default=200_000, ge=1)
    """Tokens all sub-agents of one `/multi` may use together; a line `limits:` in the message may only lower it."""
    multi_max_seconds: int = Field(default=480, ge=1)
    """Seconds all sub-agents of one `/multi` may take together; below MODEL_TURN_TIMEOUT, so that an answer is made."""
    tool_modules: str = ""
    """Python modules that bring tools of your own, separated by commas."""
    mcp_servers: str = ""
    """JSON file that names MCP servers whose tools models may call, as a whole path; empty: none."""
    tool_timeout: float = Field(default=60.0, gt=0)
    """Seconds one call of a tool may take."""
    approval_timeout: float = Field(default=86_400.0, gt=0)
    """Seconds a person has to answer what a tool asks; then it is not called."""
    web_fetch_allow: str = ""
    """Hosts the tool web_fetch may read, separated by commas, `*` for any part of a name; empty: no such tool."""
    web_fetch_private: bool = False
    """Let web_fetch reach private networks."""
    task_modules: str = ""
    """Modules that bring kinds of tasks of your own, separated by commas."""
    cluster_heartbeat_interval: float = Field(default=BEAT_S, gt=0, le=60)
    """Seconds between heartbeats. Above 0.5 it is accepted and logged, but keepers beat at 0.5."""
    cluster_failure_threshold: int = Field(default=3, ge=1, le=20)
    """Missed heartbeats after which an agent is shown as suspected."""
    cluster_election_timeout: float = Field(default=5.0, gt=0)
    """Promised bound in seconds for replacing a primary; settings whose worst case exceeds it are refused."""
    cluster_min_secondaries: int = Field(default=1, ge=0)
    """Once a primary has had this many reachable secondaries and has fewer, no new conversation begins; 0 lifts it."""
    cluster_drain_timeout: float = Field(default=10.0, ge=0, le=600)
    """Seconds an agent that is asked to end (SIGTERM) lets its turns go on before it hands them to the others."""
    cluster_working_memory_ttl: int = Field(default=3600, ge=60)
    """Seconds a conversation's working memory stays in Redis after its last use."""
    cluster_summary_at: float = Field(default=0.5, gt=0, le=0.9)
    """Share of the model's window that a conversation's messages may take before the older ones are summarised."""
    cluster_memory_recall_tokens: int = Field(default=300, ge=0)
    """Tokens of what is remembered of a person that each turn is told; 0: nothing, unless a model searches for it."""
    cluster_memory_recall_distance: float = Field(default=0.0, ge=0, le=2)
    """Cosine distance of a memory to a message above which it is not told; 0 takes what suits the model."""
    cluster_memory_recall_within: float = Field(default=0.3, gt=0)
    """Seconds a turn waits for what is remembered; then it goes on without, and its answer says so."""
    cluster_memory_promotion_delay: int = Field(default=300, ge=1)
    """Seconds a conversation rests before what was said in it is read for memories."""
    memory_extraction: Literal["auto", "model", "rules"] = "auto"
    """Who reads conversations for memories: rules, or a model (`auto`: unless it is the bundled one)."""
    cluster_terminal: bool = False
    """`on` lets agents run shell commands, each approved, each in a box of its own; refused where none can be made."""
    cluster_secret: SecretStr = SecretStr("")
    """Shared by all agents of a cluster: signs the hello of liveness connections and form tokens."""

    redis_url: str = "redis://localhost:6379"
    """Address of Redis 8 (or Redis Stack 7.4) with JSON and search."""
    redis_user: str = ""
    """User of Redis; a program that is given the secret `redis_ROLE_password` signs in as that of its role instead."""
    redis_password: SecretStr = SecretStr("")
    """Redis password; never logged."""
    redis_tls: bool = False
    """Use TLS to Redis."""
    redis_key_prefix: str = KEY_PREFIX
    """Put before every key. `{name}:` keeps all keys in one slot of a Redis Cluster."""

    postgres_url: str = "postgresql://nexus@localhost:5432/nexus"
    """Address of PostgreSQL 16 or newer, without the password."""
    postgres_password: SecretStr = SecretStr("")
    """PostgreSQL password; never logged."""
    postgres_pool_size: int = Field(default=8, ge=2, le=200)
    """Connections each process may open to PostgreSQL."""

    agent_host: str = "127.0.0.1"
    """Address this agent listens on and tells the others."""
    agent_port: int = Field(default=0, ge=0, le=65535)
    """HTTP port of this agent; 0 takes a free one."""
    liveness_port: int = Field(default=0, ge=0, le=65535)
    """Port on which other keepers watch this one; 0 takes a free one."""
    control_plane_host: str = "127.0.0.1"
    """Address the control plane listens on."""
    control_plane_port: int = Field(default=8081, ge=0, le=65535)
    """HTTP port of the control plane."""
    fleet_max: int = Field(default=50, ge=1, le=1000)
    """Agents that may be wished for at most."""
    broker_socket: str = ""
    """Unix socket of the broker, through which the control plane starts and stops agents; empty: it only looks."""
    game_day: bool = False
    """Lets administrators freeze and kill agents from the control plane, to practise."""
    public_url: str = "http://127.0.0.1:8080"
    """Address of the gateway as a browser sees it: the only Origin whose forms and sockets are served."""

    model_url: str = ""
    """OpenAI-compatible base URL (ending in /v1) of the bundled or your own model server."""
    model_name: str = "bundled"
    """Model to ask for at MODEL_URL."""
    model_api_key: SecretStr = SecretStr("")
    """Bearer key for MODEL_URL, if it wants one."""
    ollama_url: str = ""
    """Address of an Ollama server; used before MODEL_URL when set."""
    ollama_model: str = ""
    """Model to ask Ollama for; empty takes the first one it has."""
    anthropic_api_key: SecretStr = SecretStr("")
    """Claude as fallback after the local models. Costs money."""
    anthropic_model: str = "claude-sonnet-5"
    """Claude model to fall back to."""
    anthropic_url: str = ""
    """Other address for the Anthropic API; empty takes the official one."""
    model_connect_timeout: float = Field(default=2.0, gt=0)
    """Seconds to reach a model server before the next one is tried."""
    model_silence_timeout: float = Field(default=60.0, gt=0)
    """Seconds without a byte from a model after which the call is ended."""
    model_turn_timeout: float = Field(default=600.0, gt=0)
    """Seconds one turn may take in all."""
    model_max_tokens: int = Field(default=1024, ge=1)
    """Tokens one answer may have."""
    model_context_tokens: int = Field(default=0, ge=0)
    """Tokens of the model's window; 0 takes what is known: bundled 2048, Ollama 4096, Claude 200000, others 8192."""
    model_max_chars: int = Field(default=200_000, ge=1000)
    """Characters after which an endless answer is cut."""

    embedding_url: str = ""
    """OpenAI-compatible base URL (ending in /v1) of an embedding server of your own; empty takes the bundled one."""
    embedding_model: str = BUNDLED_EMBEDDER
    """Model to ask for at EMBEDDING_URL."""
    embedding_api_key: SecretStr = SecretStr("")
    """Bearer key for EMBEDDING_URL, if it wants one."""
    embedding_prefixes: Literal["auto", "e5", "none"] = "auto"
    """What stands before questions and memories: `auto` goes by the model's name, `e5` says query: and passage:."""
    embedding_duplicate_distance: float = Field(default=0.0, ge=0, le=2)
    """Cosine distance below which two memories say the same; 0 takes what suits the model."""
    embedding_cache_ttl: int = Field(default=86_400, ge=0)
    """Seconds Redis remembers the vector of a text that was asked for; 0: not at all."""

    time_zone: str = "UTC"
    """Time zone of reminders and jobs that name none, for example Europe/Berlin."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    @field_validator("cluster_agent_id")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not value or not all(c.isalnum() or c in ".-_" for c in value):
            raise ValueError("use letters, digits, dot, dash and underscore only, for example agent-1")
        return value

    @field_validator("cluster_capabilities")
    @classmethod
    def _known_words(cls, value: str) -> str:
        return ",".join(needs.declared(value))

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone(value)
        return value

    @field_validator(*_URLS)
    @classmethod
    def _whole_url(cls, value: str) -> str:
        if value and (not urlsplit(value).scheme or "://" not in value):
            raise ValueError("write a whole URL, for example http://127.0.0.1:8080")
        if urlsplit(value).password:
            raise ValueError("take the password out of the URL and set it in the *_PASSWORD setting")
        return value.rstrip("/")

    @field_validator("mcp_servers")
    @classmethod
    def _whole_path(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("write the whole path of the file, for example /srv/mcp.json")
        return value

    @model_validator(mode="after")
    def _keeps_its_promise(self) -> Self:
        """Refuse an election bound that the fixed lease cannot keep, with the arithmetic (PROTOCOLS 6.1)."""
        if why := broken_promise(self.cluster_election_timeout, worst_cases()):
            raise ValueError(f"cluster_election_timeout {why}")
        return self

    def web_fetch_hosts(self) -> tuple[str, ...]:
        """Return the patterns of hosts that web_fetch may read, in lower case."""
        return tuple(filter(None, (it.strip().lower() for it in self.web_fetch_allow.split(","))))

    def capabilities(self, *, terminal: bool) -> tuple[str, ...]:
        """Return what this agent can: what is declared, and what it offers: commands (`terminal`), pages (`web`)."""
        found = {"terminal": terminal, "web": bool(self.web_fetch_hosts())}
        return tuple(sorted({*needs.declared(self.cluster_capabilities), *(it for it, yes in found.items() if yes)}))

    def model_names(self) -> tuple[str, ...]:
        """Return the models this agent may ask, in the order in which it asks them."""
        names = [f"ollama/{self.ollama_model or 'any'}"] if self.ollama_url else []
        names += [self.model_name] if self.model_url else []
        names += [f"claude/{self.anthropic_model}"] if self.anthropic_api_key.get_secret_value() else []
        return tuple(names)

    def context_tokens(self) -> int:
        """Return the window that every model this agent may ask has at least, in tokens."""
        known = [
            next((it for family, it in _WINDOWS.items() if name.startswith(family)), _WINDOW)
            for name in self.model_names()
        ]
        return self.model_context_tokens or min(known, default=_WINDOW)


def load(role: str = "", **overrides: object) -> Settings:
    """Read settings from the environment and the secrets folder.

    `role` is what a program is to Redis (`acl.RedisUser`): one that runs user work must not get its keeper's rights.

    Raises:
        SettingsError: a value cannot be used; the message names the variable and what to change.
    """
    folder = os.environ.get("NEXUS_SECRETS_DIR")
    try:
        return Settings(_secrets_dir=folder, **overrides | _own_login(role, folder, overrides))  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        lines = [
            f"{'_'.join(map(str, e['loc'])).upper() or 'SETTINGS'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise SettingsError("; ".join(lines)) from None


def _own_login(role: str, folder: str | None, given: Mapping[str, object]) -> dict[str, object]:
    """Return user and password of a role; nothing where there is no secret for it, as in a Redis without our users."""
    name = f"redis_{role}_password"
    password = given.get(name)
    if password is None and folder is not None and (file := Path(folder) / name).is_file():
        password = file.read_text().strip()
    return {"redis_user": role, "redis_password": password} if password else {}
