"""The history of failovers: who followed whom, why, and how each millisecond was spent. Read only."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from appliance.core.postgres import Postgres, Row


class Contender(msgspec.Struct, frozen=True):
    """One candidate of an election; the lowest score goes first."""

    agent: str
    score: int
    lost: str = ""
    """Why it was not elected; '' for the winner."""


class Failover(msgspec.Struct, frozen=True):
    """One election, as PostgreSQL keeps it. Times `_ms` are null while, or if, they were not measured."""

    epoch: int
    """The term that began with it."""
    kind: str
    """What spoke against the old primary: first, eof, lease, dead, released or switchover."""
    reason: str
    """The winner's verdict when it stood."""
    sole: bool
    """A sole survivor went on without a quorum."""
    old_primary: str | None
    old_boot: UUID | None
    new_primary: str
    elected_at: datetime
    served_at: datetime | None
    """When the winner served; null: it died before."""
    voters: tuple[str, ...]
    quorum: int
    """Votes that were needed; 0 = none, the old primary had named its successor."""
    candidates: tuple[Contender, ...]
    detect_ms: float | None
    """From the old primary's last sign of life to the suspicion."""
    agree_ms: float | None
    """From the suspicion to a sufficient vote."""
    elect_ms: float | None
    """The compare-and-set in PostgreSQL."""
    promote_ms: float | None
    """From the election until the winner served and the old primary's work was handed on."""
    first_turn_ms: float | None
    """From the release of the old primary's turns until another agent began the first of them."""
    moved: int
    """Conversations whose turn another agent took over."""
    refused: int
    """Writes of the old primary that a fence turned away."""

    @property
    def cause(self) -> str:
        """Why there is a new primary, in plain words."""
        old = self.old_primary or "nobody"
        words = {
            "first": "the cluster had no primary yet",
            "eof": f"{old} died: its connection ended and it answered no probe",
            "lease": f"{old} fell silent: its lease ran out",
            "dead": f"{old} had ended before",
            "released": f"{old} gave its seat up",
            "switchover": f"{old} handed over on purpose",
        }
        return words.get(self.kind, self.kind)

    @property
    def parts(self) -> dict[str, float | None]:
        """The bars: milliseconds by name, in the order in which they happened."""
        return {
            "detect": self.detect_ms,
            "agree": self.agree_ms,
            "elect": self.elect_ms,
            "promote": self.promote_ms,
            "first turn": self.first_turn_ms,
        }

    @property
    def longest_ms(self) -> float:
        """The longest measured part, to which the others' bars are drawn."""
        return max((value for value in self.parts.values() if value is not None), default=0.0)

    def why_unmeasured(self, part: str) -> str:
        """Say why a part has no bar."""
        if part == "first turn":
            return "not taken up" if self.moved else "no turn moved"
        return "never served" if part == "promote" and self.served_at is None else "not measured"

    @property
    def total_ms(self) -> float | None:
        """From the last sign of life until the winner served; None when a part was not measured."""
        measured = [value for name, value in self.parts.items() if name != "first turn" and value is not None]
        return sum(measured) if len(measured) == len(self.parts) - 1 else None


class History:
    """Reads failovers."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def failovers(self, limit: int, *, before: int | None = None) -> list[Failover]:
        """Return the newest `limit` failovers, or the newest before an epoch; the newest first."""
        return [_failover(row) for row in await self._postgres.rows("failovers", limit=limit, before=before)]


def _failover(row: Row) -> Failover:
    said: dict[str, Any] = {"reason": "", "voters": [], "quorum": 0, "candidates": []} | row["evidence"]
    fields = {name: (row if name in row else said)[name] for name in Failover.__struct_fields__}
    return msgspec.convert(fields, Failover)
