"""PostgreSQL's notices: heard at once, never missed, and waited for without looking again and again."""

import asyncio
import time

import pytest

from appliance.core.errors import StoreAway
from appliance.core.postgres import listening, notified
from tests.cluster import Cluster

CHANNEL = "nexus_test_notices"


async def tell(cluster: Cluster) -> None:
    async with cluster.sql() as connection:
        await connection.execute(f"notify {CHANNEL}".encode())


async def test_a_notice_is_heard_at_once(cluster: Cluster) -> None:
    async with listening(cluster.settings, CHANNEL) as connection:
        waiting = asyncio.create_task(notified(connection, within_s=30))
        await asyncio.sleep(0)
        await tell(cluster)
        assert await asyncio.wait_for(waiting, 10)


async def test_a_notice_that_came_while_nobody_waited_is_heard(cluster: Cluster) -> None:
    async with listening(cluster.settings, CHANNEL) as connection:
        await tell(cluster)
        assert await notified(connection, within_s=10)
        assert not await notified(connection, within_s=0.05)


async def test_silence_is_not_a_notice_and_costs_nothing(cluster: Cluster) -> None:
    async with listening(cluster.settings, CHANNEL) as connection:
        began = time.thread_time()
        assert not await notified(connection, within_s=1.0)
        assert time.thread_time() - began < 0.6, "it only waits, beside whatever else this thread does"


async def test_a_connection_that_ends_is_said(cluster: Cluster) -> None:
    async with listening(cluster.settings, CHANNEL) as connection, cluster.sql() as other:

        async def wait_on() -> None:
            while True:  # the server's last words may come before the end itself
                await notified(connection, within_s=30)

        waiting = asyncio.create_task(wait_on())
        await other.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(StoreAway):
            await asyncio.wait_for(waiting, 10)
