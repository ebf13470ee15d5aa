"""What redis-py and the event loop raise when Redis is away becomes StoreAway, and nothing else does."""

import asyncio

import pytest
import uvloop

from appliance.core.errors import StoreAway
from appliance.core.redis import answering


async def write_on_a_connection_that_has_ended() -> None:
    """Do what redis-py does when Redis dies between a connection and its first command."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await asyncio.sleep(0)
        async with answering():
            writer.writelines([b"PING"])


def test_a_connection_that_ended_under_uvloop_is_a_store_that_is_away() -> None:
    """It once ended whole runners: uvloop raises a RuntimeError that redis-py does not know."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(StoreAway):
        runner.run(write_on_a_connection_that_has_ended())


async def test_another_runtime_error_is_a_defect_and_stays_one() -> None:
    with pytest.raises(RuntimeError, match="generator"):
        async with answering():
            raise RuntimeError("generator already executing")
