"""Redis: three clients with one job each, and the function library that holds every atomic step.

redis-py retries writes ten times and waits 5 s by default; here nothing is retried behind the caller's back:
`ctl` 0.3 s for beats and leases, `data` 2 s for work, `block` for the one blocking read of a process.
A Redis await must never be cancelled (a half-read reply belongs to the next caller): cancel around it.
"""

import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from appliance.core import acl, cancellation, logs
from appliance.core.errors import NoAttempt, NoGeneration, StaleAttempt, StaleEpoch, StoreAway, StoreDenies, StoreUnfit
from appliance.core.keys import Keys
from appliance.core.metrics import REDIS_LATENCY
from appliance.core.settings import CONTROL_CALL_S, Settings

LIBRARY = "nexus"
DATA_CALL_S = 2.0
BLOCK_S = 1.0
_REFUSALS = {
    "STALE_EPOCH": StaleEpoch,
    "STALE_ATTEMPT": StaleAttempt,
    "NO_ATTEMPT": NoAttempt,
    "NO_GENERATION": NoGeneration,
}
# Loading, a long script, a full disk, no memory, a replica: conditions of the store, not of the call.
_CANNOT_SERVE = {"LOADING", "BUSY", "MISCONF", "OOM", "READONLY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"}
_MODULES = {"ReJSON": "JSON", "search": "search"}
# What Redis says without our library, or with that of an older version, whose reads were not known to be reads.
_NO_LIBRARY = ("Function not found", "using *_ro command")
_CONTROL_LATENCY, _DATA_LATENCY = REDIS_LATENCY.labels("control"), REDIS_LATENCY.labels("data")
log = logs.get("redis")
_denied: set[tuple[str, str]] = set()


class Redis:
    """The three clients, the keys, and typed calls of the library's functions."""

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.redis_key_prefix)
        self._may_load = acl.may_load(settings.redis_user)
        self.ctl = _client(settings, timeout_s=CONTROL_CALL_S)
        self.data = _client(settings, timeout_s=DATA_CALL_S)
        self.block = _client(settings, timeout_s=BLOCK_S + DATA_CALL_S)

    async def call(
        self,
        function: str,
        keys: list[str],
        args: list[str | int | float | bytes],
        *,
        control: bool = False,
        reads: bool = False,
    ) -> Any:
        """Call one function of the library; `reads` one that only reads, for which reading rights suffice.

        If this Redis does not have the library, it is loaded by whoever may (`acl.may_load`).

        Raises:
            StoreAway: Redis does not answer, or still waits for the library. NoGeneration: it is empty.
            StoreDenies: this user may not. StaleEpoch, StaleAttempt, NoAttempt: the function refused.
        """
        client = self.ctl if control else self.data
        began = time.perf_counter()
        command = client.fcall_ro if reads else client.fcall
        try:
            async with answering(function):
                answer = await self._with_library(lambda: command(function, len(keys), *keys, *args))
        except StoreAway:
            # A restarted Redis left every idle connection dead: one call finds out, not each of them.
            await client.connection_pool.disconnect(inuse_connections=False)
            raise
        (_CONTROL_LATENCY if control else _DATA_LATENCY).observe(time.perf_counter() - began)
        return answer

    async def _with_library(self, made: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call; without the library a second time, once it is loaded."""
        try:
            return await made()
        except ResponseError as error:
            if not any(sign in str(error) for sign in _NO_LIBRARY):
                raise
        if not self._may_load:
            raise StoreAway("Redis waits for a keeper to load its functions")
        await self.load_library()
        return await made()

    async def load_library(self) -> None:
        """Load or replace the function library; safe at any time, also from several processes."""
        async with answering():
            await self.data.function_load(library_source(), replace=True)

    async def ping(self) -> None:
        """Return when Redis answers; StoreAway when it does not."""
        async with answering():
            await self.ctl.ping()

    async def info(self) -> dict[str, Any]:
        """Return what Redis says of itself, latencies per command among it.

        Raises:
            StoreAway: Redis does not answer, or (StoreDenies) not to this user.
        """
        async with answering("info"):
            return dict(await self.data.info("everything"))

    async def check(self) -> str:
        """Return one sentence about what was found.

        Raises:
            StoreUnfit: too old, or without JSON or search: says what was found and what is needed.
        """
        async with answering():
            info = await self.data.info("server")
            modules = await self.data.module_list()
        version = str(info["redis_version"])
        found = {_text(module.get("name", module.get(b"name", ""))) for module in modules}
        missing = [word for name, word in _MODULES.items() if name not in found]
        if tuple(map(int, version.split(".")[:2])) < (7, 4) or missing:
            raise StoreUnfit(
                f"Redis {version} was found"
                + (f" without {' and '.join(missing)}" if missing else "")
                + "; Redis 8 (or Redis Stack 7.4) with the JSON and search modules is needed"
            )
        return f"Redis {version} with JSON and search"

    async def aclose(self) -> None:
        """Close all connections."""
        for client in (self.ctl, self.data, self.block):
            await client.aclose()


def _client(settings: Settings, timeout_s: float) -> aioredis.Redis:
    client: aioredis.Redis = aioredis.Redis.from_url(
        settings.redis_url.replace("redis://", "rediss://") if settings.redis_tls else settings.redis_url,
        username=settings.redis_user or None,
        password=settings.redis_password.get_secret_value() or None,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s, 1.0),
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        health_check_interval=0,
    )
    return client


@asynccontextmanager
async def answering(what: str = "a command") -> AsyncIterator[None]:
    """Translate redis-py's errors into ours; `what` is named in the log when Redis denies it."""
    try:
        with cancellation.kept():
            yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise StoreAway("Redis does not answer", cause=type(error).__name__) from error
    except RuntimeError as error:  # uvloop's word for a connection that ended while redis-py was about to write
        if "the handler is closed" not in str(error):
            raise
        raise StoreAway("Redis does not answer", cause="the connection ended") from error
    except ResponseError as error:
        raise _meaning(error, what) from None
    except RedisError as error:
        raise StoreAway("Redis does not answer", cause=str(error)) from error


def _meaning(error: ResponseError, what: str) -> Exception:
    """Return our error for an answer of Redis; the answer itself when it has none."""
    code = getattr(error, "status_code", None) or str(error).split(" ", 1)[0]
    if code in _REFUSALS:
        return _REFUSALS[code]()
    if isinstance(error, NoPermissionError) or "ACL failure in script" in str(error):
        _log_denied(what, str(error))
        return StoreDenies(command=what)
    if code in _CANNOT_SERVE:
        return StoreAway("Redis cannot serve at the moment", cause=code)
    return error


def _log_denied(what: str, said: str) -> None:
    """Log a denial once; Redis counts all of them (ACL LOG)."""
    if (what, said) not in _denied:
        _denied.add((what, said))
        log.error("redis_denied", command=what, answer=said)


def library_source() -> str:
    """Assemble the library: `_shared.lua` first, then one file per function, under one header."""
    folder = files("appliance.core") / "lua"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".lua"))
    parts = [f"-- {name}\n" + (folder / name).read_text() for name in names]
    return f"#!lua name={LIBRARY}\n" + "\n".join(parts)


def library_version() -> str:
    """Return a short fingerprint of the library, for logs and `doctor`."""
    return hashlib.sha256(library_source().encode()).hexdigest()[:12]


def new_generation() -> str:
    """Return an id for a freshly initialised Redis; free of dashes, since cursors join it to a stream id with one."""
    return uuid.uuid4().hex


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
