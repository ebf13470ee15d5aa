"""What an operator asks of the cluster: drain, switchover, pause. Rows first, each with its audit row; hints second."""

import json
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

import msgspec

from appliance.core import event_bus
from appliance.core.errors import NotFound
from appliance.core.postgres import Postgres, Row
from appliance.core.redis import Redis

ANYBODY = ""
"""Successor of a switchover that leaves the choice to the cluster."""
SWITCHOVER_S = 10.0
"""A switchover that nobody carried out within this time is taken back."""


class Order(msgspec.Struct, frozen=True):
    """One order. Keepers carry it out and end it with an outcome, a sentence without its full stop."""

    id: UUID
    kind: Literal["drain", "switchover"]
    agent_id: str
    """The agent to drain, or the successor; '' = the best one."""
    deadline_s: float
    asked_by: str
    asked_at: datetime
    ended_at: datetime | None = None
    outcome: str = ""
    new: bool = True
    """False: somebody had asked for it before; this is that order."""

    @property
    def carried_out(self) -> bool:
        """Whether its outcome is what was asked for."""
        return self.outcome.startswith("drained") if self.kind == "drain" else " is primary of epoch " in self.outcome


class Orders:
    """Gives orders and follows them."""

    def __init__(self, redis: Redis, postgres: Postgres) -> None:
        self._redis = redis
        self._postgres = postgres

    async def drain(self, agent_id: str, *, deadline_s: float, by: str, key: UUID | None = None) -> Order:
        """Ask an agent to take nothing new and to hand back after `deadline_s` what still runs; audited."""
        return await self._give("order_drain", agent_id, deadline_s, by, key or uuid4())

    async def switchover(self, successor: str, *, by: str, key: UUID | None = None) -> Order:
        """Ask the primary to hand its seat to `successor`; audited. An open one may name somebody else."""
        return await self._give("order_switchover", successor, SWITCHOVER_S, by, key or uuid4())

    async def _give(self, statement: str, agent_id: str, deadline_s: float, by: str, key: UUID) -> Order:
        row = await self._postgres.row(
            statement, id=key, agent=agent_id, deadline_s=deadline_s, by=by, trace=uuid4().hex
        )
        assert row is not None  # noqa: S101 - the statement returns the new order or the open one
        await event_bus.publish(self._redis, "config", "order")
        return _order(row)

    async def repeated(self, order: Order, *, by: str) -> None:
        """Audit that somebody asked for what another order does already; nothing when it is a new one."""
        if not order.new:
            action, detail = f"{order.kind}: under way", json.dumps({"order": str(order.id)})
            await self._postgres.rows(
                "audit", actor=by, action=action, subject=order.agent_id, detail=detail, trace=uuid4().hex
            )

    async def read(self, order: Order) -> Order:
        """Read an order as it is now.

        Raises:
            NotFound: the database was set back to before it.
        """
        row = await self._postgres.row("order", id=order.id)
        if row is None:
            raise NotFound(f"The order to {order.kind} {order.agent_id} is no longer there.")
        return msgspec.structs.replace(_order(row), new=order.new)

    async def given(self, key: UUID) -> Order | None:
        """Return the order that was given with this key, be it ended; None when there is none."""
        row = await self._postgres.row("order", id=key)
        return msgspec.structs.replace(_order(row), new=False) if row else None

    async def unended(self) -> list[Order]:
        """Read the orders that nobody has ended yet, the oldest first."""
        return [_order(row) for row in await self._postgres.rows("open_orders")]

    async def recent(self, within_s: float) -> list[Order]:
        """Read the orders that nobody has ended yet and those that ended within the last seconds."""
        return [_order(row) for row in await self._postgres.rows("recent_orders", within_s=within_s)]

    async def end(self, order: Order, outcome: str) -> bool:
        """End an order with what became of it; False when it had ended before."""
        return await self._postgres.row("end_order", id=order.id, outcome=outcome) is not None


class Pause(msgspec.Struct, frozen=True):
    """Automatic failover is paused."""

    by: str
    since: datetime


class AutomaticFailover:
    """Its one row. Keepers read it each second, so a change is in force within about that time."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def pause(self, *, by: str) -> Pause:
        """Leave a dead primary's seat empty until `resume`; audited. Returns the pause in force."""
        row = await self._postgres.row("pause_failover", by=by, trace=uuid4().hex)
        assert row is not None  # noqa: S101 - the row is made by the migrations
        return Pause(row["paused_by"], row["paused_at"])

    async def resume(self, *, by: str) -> bool:
        """Replace dead primaries again; audited. False: it was not paused."""
        return await self._postgres.row("resume_failover", by=by, trace=uuid4().hex) is not None

    async def paused(self) -> Pause | None:
        """Return who paused it and since when, or None."""
        row = await self._postgres.row("paused_failover")
        return Pause(row["paused_by"], row["paused_at"]) if row else None


def _order(row: Row) -> Order:
    return Order(**{name: row[name] for name in Order.__struct_fields__ if name in row})
