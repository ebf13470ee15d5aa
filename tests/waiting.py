"""Waiting for a condition with a deadline, never for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from redis.exceptions import RedisError

from appliance.core.errors import NexusError

PATIENCE_S = 30.0
"""Deadlines are generous here; strict figures belong to the benchmarks."""


async def wait_until(condition: Callable[[], Awaitable[Any]], *, within_s: float = PATIENCE_S, of: str) -> Any:
    """Return the first true answer of `condition`; fail with `of` and the last answer when none comes in time."""
    deadline = time.monotonic() + within_s
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = await condition()
            if last:
                return last
        except (NexusError, RedisError, httpx2.HTTPError) as error:
            last = error
        await asyncio.sleep(0.02)
    raise AssertionError(f"{of} did not happen within {within_s} s; last seen: {last!r}")
