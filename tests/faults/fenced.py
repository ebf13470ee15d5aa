"""Writers that act for the primary of the moment, each with its own delay in learning who that is (PROTOCOLS 6.2).

A row committed after the birth of the next epoch is a stale commit (I2). PostgreSQL itself says which commit came
first: births are kept by a trigger in the electing transaction, and commit timestamps are compared. They are in the
order of the locks: a write under the fence has its own before the election that waits for it.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import msgspec
import psycopg

from appliance.core.clock import monotonic
from appliance.core.errors import NexusError
from appliance.core.postgres import connection_options
from tests.cluster import Cluster

LAGS_S = (0.0, 0.5, 2.0)
"""One writer each: an attentive primary, one that learns late that it was deposed, one that wakes from a long pause."""
HELD_S = 0.01
"""The attentive one takes so long between its fence and its commit that elections find it there."""
PAUSE_S = 0.012
LOOK_S = 0.05
_RETRY_S = 0.1

PREPARED = """
create table if not exists epoch_births(epoch bigint primary key);
create table if not exists fenced_writes(id bigint generated always as identity primary key, epoch bigint not null);
create or replace function note_birth() returns trigger language plpgsql as $$
begin insert into epoch_births values (new.epoch); return null; end $$;
create or replace trigger note_birth after update of epoch on cluster_epoch for each row
  when (new.epoch > old.epoch) execute function note_birth();
"""
WRITE = """
with fence as (select 1 from cluster_epoch where id = 1 and epoch = %(epoch)s for share)
insert into fenced_writes(epoch) select %(epoch)s from fence where pg_sleep(%(held_s)s) is not null
"""
STALE = """
select w.epoch from fenced_writes w join epoch_births b on b.epoch = w.epoch + 1
 where pg_xact_commit_timestamp(w.xmin) > pg_xact_commit_timestamp(b.xmin)
"""


class Count(msgspec.Struct):
    """What became of the writes."""

    attempted: int = 0
    committed: int = 0
    refused: int = 0
    unknown: int = 0
    """The connection broke, so nobody heard what became of it."""
    stale: int = 0
    """Committed after the next epoch's birth; counted at the end."""


class FencedWriters:
    """A load of fenced writes on one cluster, from `begin` to `end`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=256)
        self._tasks: list[asyncio.Task[None]] = []
        self.count = Count()

    async def begin(self) -> None:
        """Make the tables and start to write."""
        async with self._cluster.sql() as sql:
            await sql.execute(PREPARED.encode())
        self._tasks = [asyncio.create_task(self._learn()), *(asyncio.create_task(self._write(lag)) for lag in LAGS_S)]

    async def end(self) -> None:
        """Stop writing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(psycopg.Error):  # a cluster that is given up may have no store left
            async with self._cluster.sql() as sql:
                self.count.stale = len(await (await sql.execute(STALE.encode())).fetchall())

    async def _learn(self) -> None:
        while True:
            with suppress(NexusError):
                epoch = (await self._cluster.view()).epoch
                if epoch > self._known[-1][1]:
                    self._known.append((monotonic(), epoch))
            await asyncio.sleep(LOOK_S)

    def _epoch(self, lag_s: float) -> int:
        until = monotonic() - lag_s
        return next((epoch for at, epoch in reversed(self._known) if at <= until), 0)

    async def _write(self, lag_s: float) -> None:
        settings = self._cluster.settings
        while True:
            with suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    settings.postgres_url, **connection_options(settings, "fenced writer")
                ) as connection:
                    await self._write_on(connection, lag_s)
            await asyncio.sleep(_RETRY_S)

    async def _write_on(self, connection: psycopg.AsyncConnection[Any], lag_s: float) -> None:
        held_s = 0.0 if lag_s else HELD_S
        while True:
            self.count.attempted += 1
            try:
                done = await connection.execute(WRITE, {"epoch": self._epoch(lag_s), "held_s": held_s})
            except psycopg.Error:
                self.count.unknown += 1
                raise
            if done.rowcount:
                self.count.committed += 1
            else:
                self.count.refused += 1
            await asyncio.sleep(PAUSE_S)
