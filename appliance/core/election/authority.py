"""What elections do in the stores: an epoch is born only in PostgreSQL; Redis shows its holder's lease to everybody."""

from typing import Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from appliance.core.election.decide import VOTE_WINDOW_S, Evidence, Tally
from appliance.core.errors import StaleEpoch, StoreAway
from appliance.core.health import UNMOVED_BEAT_S
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import BEAT_S, LEASE_S

_LEASE_MS = int(LEASE_S * 1000)
_WINDOW_MS = int(VOTE_WINDOW_S * 1000)
_STALE_BEAT_MS = int(BEAT_S * 3000)
NAMED_MS = 1000
"""A named successor has this long; afterwards the cluster has to agree."""
Renewal = Literal["ok", "absent", "other"]


class Epoch(msgspec.Struct, frozen=True):
    """A term, as PostgreSQL knows it."""

    number: int
    primary_id: str | None
    boot: str | None


class Standing(msgspec.Struct, frozen=True):
    """What a keeper asks PostgreSQL each second."""

    term: Epoch
    i_am_dead: bool
    holder_lives: bool
    """The holder's boot is not known to be dead."""
    born_s: float
    """How long ago the term was born; a day for the one before the first election."""
    paused_by: str | None


class Election:
    """The steps that make an agent primary and keep it so."""

    def __init__(self, redis: Redis, postgres: Postgres) -> None:
        self._redis = redis
        self._postgres = postgres
        self._keys = redis.keys

    async def current(self) -> Epoch:
        """Read the epoch that every fenced write is checked against."""
        row = await self._postgres.row("cluster_epoch")
        if row is None:
            return Epoch(0, None, None)
        return Epoch(row["epoch"], row["primary_id"], str(row["boot"]) if row["boot"] else None)

    async def standing(self, boot: str) -> Standing:
        """Read the term, whether `boot` was buried, and whether automatic failover is paused.

        Raises:
            StoreAway: PostgreSQL does not answer.
        """
        row = await self._postgres.row("standing", boot=boot or None)
        assert row is not None  # noqa: S101 - both rows are made by the migrations
        term = Epoch(row["epoch"], row["primary_id"], str(row["boot"]) if row["boot"] else None)
        return Standing(term, row["dead"], row["holder_lives"], row["born_s"], row["paused_by"])

    async def vote(self, me: str, boot: str, *, epoch: int, suspect: str, evidence: Evidence) -> bool:
        """Say that the holder of `epoch` is gone; False when this agent's own beat is too old for its word to count."""
        keys = self._keys
        votes = await self._redis.call(
            "vote",
            [keys.votes(epoch), keys.agent(me), keys.boot(boot), keys.generation],
            [me, boot, epoch, suspect, evidence, _WINDOW_MS, _STALE_BEAT_MS, keys.channel("health")],
            control=True,
        )
        return int(votes) >= 0

    async def may_elect(self, *, epoch: int, seq: int, suspect: str, evidence: Evidence, held_s: float) -> Tally:
        """Ask Redis whether the votes against the holder of `epoch` suffice (PROTOCOLS 6.3); changes nothing."""
        keys = self._keys
        kind = "eof" if evidence == "eof" else "lease"
        verdict, quorum, *voters = await self._redis.call(
            "may_elect",
            [keys.votes(epoch), keys.agents, keys.primary, keys.epoch, keys.generation],
            [kind, epoch, seq, suspect, int(held_s * 1000), _WINDOW_MS, int(UNMOVED_BEAT_S * 1000),
             keys.agent(""), keys.boot("")],
            control=True,
        )  # fmt: skip
        return Tally(verdict, int(quorum), tuple(voters))

    async def elect(self, me: str, boot: str, *, voted: int, evidence: dict[str, Any]) -> int | None:
        """Try the compare-and-set against the epoch that the votes were for; return the new epoch, or None.

        Its commit is the moment of election. Sessions that hold the fence for too long are ended (PROTOCOLS 6.2).

        Raises:
            StoreAway: PostgreSQL does not answer; whether it was won shows in `current`.
        """
        values = {"agent": me, "boot": boot, "voted": voted, "evidence": Jsonb(evidence)}
        try:
            won = await self._postgres.once("elect", **values)
        except StoreAway:
            await self._postgres.rows("end_epoch_blockers")
            won = await self._postgres.rows("elect", **values)
        epoch: int | None = won[0]["elect"] if won else None
        return epoch

    async def install(self, me: str, boot: str, epoch: int) -> bool:
        """Show the lease of an epoch just won; False when it or a later one is known in Redis already."""
        keys = self._keys
        done = await self._redis.call(
            "install",
            [keys.primary, keys.epoch, keys.generation, keys.released],
            [me, boot, epoch, _LEASE_MS, keys.channel("agent")],
            control=True,
        )
        return bool(done)

    async def reassert(self, me: str, boot: str, epoch: int) -> bool:
        """Show the lease again after Redis lost it. The caller has just verified PostgreSQL."""
        keys = self._keys
        done = await self._redis.call(
            "reassert", [keys.primary, keys.epoch, keys.generation], [me, boot, epoch, _LEASE_MS], control=True
        )
        return bool(done)

    async def renew(self, me: str, boot: str, epoch: int) -> Renewal:
        """Prolong the lease; *absent* means that Redis lost it, *other* that somebody else holds it."""
        keys = self._keys
        answer: Renewal = await self._redis.call(
            "renew", [keys.primary, keys.generation], [me, boot, epoch, _LEASE_MS], control=True
        )
        return answer

    async def release(self, me: str, boot: str, epoch: int, *, successor: str, kind: str) -> bool:
        """Give the seat up after the last authoritative write; a named successor need not be voted for."""
        keys = self._keys
        done = await self._redis.call(
            "release",
            [keys.primary, keys.released, keys.generation],
            [me, boot, epoch, successor, kind, NAMED_MS, keys.channel("agent")],
            control=True,
        )
        return bool(done)

    async def tell(self, epoch: int, message: dict[str, object]) -> None:
        """Say something to all as the primary of `epoch`; StaleEpoch when it has been deposed."""
        keys = self._keys
        said = msgspec.json.encode(message)
        await self._redis.call(
            "tell", [], [keys.epoch, keys.generation, epoch, keys.channel("agent"), said], control=True
        )

    async def record_promotion(self, epoch: int, boot: str, *, elect_ms: float, promote_ms: float) -> None:
        """Complete the history's row; StaleEpoch when the winner has been deposed already."""
        done = await self._postgres.value(
            "record_promotion", epoch=epoch, boot=boot, elect_ms=elect_ms, promote_ms=promote_ms
        )
        if not done:
            raise StaleEpoch(epoch=epoch)
