"""Hints over pub/sub. Nothing may depend on one: each has a row or key behind it that is polled (PROTOCOLS 8.4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal

import msgspec

from appliance.core import cancellation, logs
from appliance.core.clock import monotonic
from appliance.core.errors import NexusError, StoreAway
from appliance.core.redis import Redis, answering

log = logs.get("hints")
PING_S = 5.0
AGAIN_S = 0.25
Topic = Literal["agent", "model", "abort", "config", "health", "task"]


async def publish(redis: Redis, topic: Topic, kind: str, **facts: object) -> None:
    """Tell everybody who listens now; a Redis that is away is no error, since this is only a hint."""
    with suppress(StoreAway):
        async with answering():
            await redis.data.publish(redis.keys.channel(topic), msgspec.json.encode({"type": kind, **facts}))


async def hear(redis: Redis, *topics: Topic) -> AsyncIterator[dict[str, Any]]:
    """Yield hints on `topics` for ever; those of an interruption are missed, as hints may be."""
    while True:
        try:
            async for hint in listen(redis, *topics):
                yield hint
        except NexusError as error:
            log.info("hints_interrupted", error=str(error))
        await asyncio.sleep(AGAIN_S)


async def listen(redis: Redis, *topics: Topic) -> AsyncIterator[dict[str, Any]]:
    """Yield hints on `topics` as they arrive.

    Raises:
        StoreAway: the connection broke or stayed silent to a ping; call again.
    """
    async with answering(), redis.block.pubsub() as channel:
        with cancellation.kept():
            await channel.subscribe(*(redis.keys.channel(topic) for topic in topics))
        pinged = 0.0
        while True:
            with cancellation.kept():
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=PING_S)
                if message is None and monotonic() - pinged >= PING_S:  # None is also the answer to a ping
                    await channel.ping()  # a half-open socket gives no error by itself
                    pinged = monotonic()
            if message is not None and message["type"] == "message":
                yield msgspec.json.decode(message["data"])
