"""Who is primary (PROTOCOLS 6). Until agents vote, one is appointed; its compare-and-set is already the real one.

An epoch is born only in PostgreSQL; Redis shows its holder's lease to everybody.
"""

from typing import Literal

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import LEASE_S

_LEASE_MS = int(LEASE_S * 1000)
Renewal = Literal["ok", "absent", "other"]


class Epoch(msgspec.Struct, frozen=True):
    """The current term, as PostgreSQL knows it."""

    number: int
    primary_id: str | None
    boot: str | None


class Election:
    """The steps that make an agent primary and keep it so."""

    def __init__(self, redis: Redis, postgres: Postgres) -> None:
        self._redis = redis
        self._postgres = postgres

    async def current(self) -> Epoch:
        """Read the epoch that every fenced write is checked against."""
        row = await self._postgres.row("cluster_epoch")
        if row is None:
            return Epoch(0, None, None)
        return Epoch(row["epoch"], row["primary_id"], str(row["boot"]) if row["boot"] else None)

    async def appoint(self, agent_id: str, boot: str, evidence: str) -> int | None:
        """Take the primary's seat if nobody took it since it was last read; return the new epoch, or None."""
        seen = await self.current()
        won = await self._postgres.value(
            "elect", agent=agent_id, boot=boot, voted=seen.number, evidence=Jsonb({"kind": evidence})
        )
        if won is not None:
            await self.install(agent_id, boot, int(won))
        return None if won is None else int(won)

    async def install(self, agent_id: str, boot: str, epoch: int) -> bool:
        """Show `epoch`'s lease in Redis; False when a higher one is known there. The caller verified PostgreSQL."""
        keys = self._redis.keys
        done = await self._redis.call(
            "install",
            [keys.primary, keys.epoch, keys.generation, keys.channel("agent")],
            [agent_id, boot, epoch, _LEASE_MS],
            control=True,
        )
        return bool(done)

    async def renew(self, agent_id: str, boot: str, epoch: int) -> Renewal:
        """Prolong the lease; *absent* means that Redis lost it, *other* that somebody else holds it."""
        keys = self._redis.keys
        answer: Renewal = await self._redis.call(
            "renew", [keys.primary, keys.generation], [agent_id, boot, epoch, _LEASE_MS], control=True
        )
        return answer
