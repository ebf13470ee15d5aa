"""How long a failover can take at most, from the times that are fixed. Pure."""

from typing import NamedTuple

LEASE_S = 2.0
"""Lease of the primary and life of a boot key, by Redis' clock."""
_AFTER_THE_LEASE = {
    "poll": 0.25,
    "probe and vote": 0.2,
    "stagger": 0.15,
    "commit": 0.05,
    "a fenced session that hangs": 0.5,
    "take-over": 0.2,
    "gateway": 0.35,
}
"""What a hang costs beside the lease, in seconds (PROTOCOLS 6.1, 6.2)."""
_SOLE_SURVIVOR_S = 0.5


class Bound(NamedTuple):
    """The longest that a failover of one kind can take."""

    what: str
    seconds: float
    arithmetic: str


def worst_cases(lease_s: float = LEASE_S) -> tuple[Bound, ...]:
    """Return the bounds of a failover with the sums they come from: a hang, and a sole survivor. Pure."""
    hang = {"lease": lease_s} | _AFTER_THE_LEASE
    hang_s, sole_s = round(sum(hang.values()), 2), 2 * lease_s + _SOLE_SURVIVOR_S
    parts = " + ".join(f"{what} {seconds}" for what, seconds in hang.items())
    return (
        Bound("a hang", hang_s, f"{parts} = {hang_s} s"),
        Bound("a sole survivor", sole_s, f"2 x {lease_s} s + {_SOLE_SURVIVOR_S} s = {sole_s} s"),
    )


def broken_promise(promised_s: float, bounds: tuple[Bound, ...]) -> str | None:
    """Return why `promised_s` cannot be kept, with the arithmetic; None when it can. Pure."""
    worst_s = max(bound.seconds for bound in bounds)
    if promised_s >= worst_s:
        return None
    sums = "; ".join(f"{bound.what} takes up to {bound.arithmetic}" for bound in bounds)
    return f"{promised_s} s cannot be kept: {sums}; set it to {worst_s} or more"
