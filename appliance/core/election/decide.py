"""Should this agent vote, count, stand or wait? Pure: one snapshot in, one verdict with its reason out.

PROTOCOLS 6.4. No clock and no I/O in here: durations are the caller's own monotonic ones, `tally` is what Redis counted
by its TIME. The table is read from the top; the first row that applies decides. Safety never rests on it: an epoch is
born only by PostgreSQL's compare-and-set, and every write is fenced. The table decides how fast a dead primary is
replaced and that a healthy one is left alone.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Literal

import msgspec

from appliance.core.records import Agent

EXTRA_LEASE_S = 2.0
"""A lease absent this long without a quorum, whatever the reason: one voter may go on alone, audited."""
VOTE_WINDOW_S = 1.5
SHOWN_WITHIN_S = 1.0
"""Between the birth of a term and the sight of its lease; the compare-and-set, too, protects a term for so long."""
REVOTE_S = 1.0
"""A vote is repeated before it leaves the window."""
STAGGER_S = 0.05
"""The best candidate goes first, the next one this much later."""

Evidence = Literal["first", "eof", "lease", "dead", "released", "switchover"]
TallyVerdict = Literal["yes", "overtaken", "alive", "few", "unconfirmed"]


class Act(StrEnum):
    """What to do next."""

    WAIT = "wait"
    VOTE = "vote"  #: say in Redis that the holder is gone
    COUNT = "count"  #: ask Redis whether the votes suffice
    STAND = "stand"  #: try PostgreSQL's compare-and-set


class Tally(msgspec.Struct, frozen=True):
    """What `may_elect` answered."""

    verdict: TallyVerdict
    quorum: int
    voters: tuple[str, ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one agent knows about the primary's seat at one moment."""

    me: str
    epoch: int
    """The term in force, by PostgreSQL."""
    holder: str = ""
    """Who holds that term, by PostgreSQL; '' before the first election."""
    holder_boot: str = ""
    holder_dead: bool = False
    """PostgreSQL knows that its boot has ended."""
    born_s: float = math.inf
    """So long ago, by PostgreSQL, this term was born."""
    i_lead: bool = False
    tilted: bool = False
    postgres_away: bool = False
    paused: bool = False
    lease_there: bool = False
    """Redis shows a lease of any epoch."""
    lease_moved: bool = False
    """The lease was renewed after the connection to its holder ended."""
    absent_s: float = 0.0
    """For so long this agent has seen no lease."""
    ended: bool = False
    """The connection to the holder ended and signed probes of it have failed ever since."""
    holder_claims: bool = False
    """The holder answers, signed, that it holds this term."""
    released: bool = False
    """The holder gave the seat up."""
    successor: str = ""
    """Whom it named; '' leaves it to the cluster."""
    cannot_stand: str = ""
    """Why this agent may not be elected; '' = it may."""
    turn_in_s: float = 0.0
    """Until then a better candidate goes first."""
    voted: bool = False
    tally: Tally | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What to do and why: the log line, the row's reason and the test's oracle."""

    act: Act
    reason: str
    sole: bool = False


def evidence_of(seen: Snapshot) -> Evidence:
    """Name what speaks against the holder."""
    if seen.released:
        return "switchover" if seen.successor else "released"
    if not seen.holder:
        return "first"
    if seen.ended:
        return "eof"
    return "dead" if seen.holder_dead else "lease"


def decide(seen: Snapshot) -> Verdict:
    """Return what this agent does next about the primary's seat."""
    for applies, act, reason in TABLE:
        if applies(seen):
            return Verdict(act, reason(seen))
    return _by_tally(seen)


def _by_tally(seen: Snapshot) -> Verdict:
    """Stand with a quorum; without one, alone after an extra lease."""
    tally = seen.tally
    if tally is None:
        return Verdict(Act.COUNT, "voted: do the votes suffice?")
    votes = f"{len(tally.voters)} vote{'s' * (len(tally.voters) != 1)} ({tally.quorum} needed)"
    if tally.verdict == "yes":
        return Verdict(Act.STAND, f"{votes} that {_who(seen)} is gone ({evidence_of(seen)})")
    if tally.verdict == "few" and not seen.lease_there and seen.absent_s >= EXTRA_LEASE_S:
        return Verdict(Act.STAND, f"sole survivor: no lease for {seen.absent_s:.1f} s and only {votes}", sole=True)
    return Verdict(Act.WAIT, f"{tally.verdict}: {votes}")


def _who(seen: Snapshot) -> str:
    return seen.holder or "the first primary"


Row = tuple[Callable[[Snapshot], bool], Act, Callable[[Snapshot], str]]
TABLE: tuple[Row, ...] = (
    (lambda s: s.i_lead, Act.WAIT, lambda s: f"I am the primary of epoch {s.epoch}"),
    (lambda s: s.tilted, Act.WAIT, lambda _: "in tilt: I do not trust my own view"),
    (lambda s: s.postgres_away, Act.WAIT, lambda _: "PostgreSQL is away: no epoch can be born"),
    (lambda s: s.released and s.successor == s.me and not s.lease_there and not s.cannot_stand, Act.STAND,
     lambda s: f"named as successor by {_who(s)}"),
    (lambda s: s.released and s.successor not in ("", s.me), Act.WAIT, lambda s: f"{s.successor} is named successor"),
    (lambda s: s.lease_there and not s.ended, Act.WAIT, lambda s: f"{_who(s)} holds epoch {s.epoch}"),
    (lambda s: s.lease_there and s.lease_moved, Act.WAIT,
     lambda s: f"{_who(s)} renewed after its connection ended: it lives"),
    (lambda s: s.born_s < SHOWN_WITHIN_S and evidence_of(s) == "lease", Act.WAIT,
     lambda s: f"{_who(s)} was elected {s.born_s:.1f} s ago: its lease will show"),
    (lambda s: s.paused, Act.WAIT, lambda _: "automatic failover is paused"),
    (lambda s: s.holder_claims, Act.WAIT,
     lambda s: f"{_who(s)} says that it holds epoch {s.epoch}: my own path to Redis is bad"),
    (lambda s: not s.voted, Act.VOTE, lambda s: f"{_who(s)} is gone ({evidence_of(s)})"),
    (lambda s: bool(s.cannot_stand), Act.WAIT, lambda s: f"voted; I may not stand: {s.cannot_stand}"),
    (lambda s: s.turn_in_s > 0, Act.WAIT, lambda s: f"voted; a better candidate goes first for {s.turn_in_s:.2f} s"),
)  # fmt: skip


class Candidate(msgspec.Struct, frozen=True):
    """One agent's standing in an election; the lowest score goes first."""

    agent: str
    score: int
    out: str
    """Why it may not stand; '' = it may."""


def candidates(agents: tuple[Agent, ...], epoch: int, suspect: str) -> tuple[Candidate, ...]:
    """Rank the agents: a standby first, then by `epoch lag * 1000 + load` (the seed's 3.6), then by name."""
    found = [
        Candidate(agent.id, (epoch - agent.config_epoch) * 1000 + agent.current_load, _why_out(agent, suspect))
        for agent in agents
    ]
    preferred = {agent.id for agent in agents if agent.role == "standby"}
    return tuple(sorted(found, key=lambda it: (bool(it.out), it.agent not in preferred, it.score, it.agent)))


def _why_out(agent: Agent, suspect: str) -> str:
    if agent.id == suspect:
        return "suspected itself"
    if not agent.boot_alive:
        return "not alive"
    return "" if agent.electable else f"not electable ({agent.status})"


def rank_of(ranked: tuple[Candidate, ...], me: str) -> int:
    """Return how many go before `me`."""
    return next((place for place, it in enumerate(ranked) if it.agent == me), len(ranked))


def why_lost(ranked: tuple[Candidate, ...], winner: str, named_by: str = "") -> dict[str, str]:
    """Return for every other candidate the sentence that history shows."""
    if named_by:
        return {it.agent: "handed over" if it.agent == named_by else "not named" for it in ranked if it.agent != winner}
    place, won = rank_of(ranked, winner), next((it for it in ranked if it.agent == winner), None)
    said: dict[str, str] = {}
    for number, it in enumerate(ranked):
        if it.agent == winner:
            continue
        behind = f"ranked {number + 1}, behind {winner} (score {it.score}, the winner's {won.score if won else 0})"
        ahead = f"ranked {number + 1}, ahead of {winner}, but slower to the compare-and-set"
        said[it.agent] = it.out or (behind if number > place else ahead)
    return said
