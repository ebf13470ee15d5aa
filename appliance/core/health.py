"""When is a boot dead? Pure: durations in, a verdict with its reason out (PROTOCOLS 6.4, 7.3)."""

from enum import StrEnum

import msgspec

from appliance.core.records import ClusterView

BOOT_GONE_RELEASES_TURNS_S = 1.0
"""A boot key gone this long hands its turns on: people wait for them."""
BOOT_GONE_DIES_S = 3.5
"""A boot key gone this long is a dead boot: a 3 s pause must not re-run costly work."""
UNMOVED_BEAT_S = 0.7
"""After an end-of-file, a beat unmoved this long confirms the death without a second observer."""
EOF_WINDOW_S = 0.15
"""Signed probes must fail this long after an end-of-file: a closed connection alone is not death."""
TILT_GAP_S = 0.6
"""An own gap above this makes the observer distrust itself for one lease."""
CLOCK_STEP_S = 0.5
"""Redis' clock off by more than this against the own monotonic one: the lives of its keys cannot be trusted."""


class Act(StrEnum):
    """What to do about a peer."""

    NOTHING = "nothing"
    RELEASE_TURNS = "release_turns"
    BURY = "bury"


class Verdict(msgspec.Struct, frozen=True):
    """What to do and why; the reason is the log line, the row's reason and the test's oracle."""

    act: Act
    reason: str


def judge_silence(gone_s: float, *, tilted: bool) -> Verdict:
    """Decide on a boot whose key has been gone for `gone_s` seconds of the observer's own clock."""
    if tilted:
        return Verdict(Act.NOTHING, "observer in tilt")
    if gone_s >= BOOT_GONE_DIES_S:
        return Verdict(Act.BURY, f"silent: boot key gone for {gone_s:.1f} s")
    if gone_s >= BOOT_GONE_RELEASES_TURNS_S:
        return Verdict(Act.RELEASE_TURNS, f"silent: boot key gone for {gone_s:.1f} s")
    return Verdict(Act.NOTHING, "not silent for long")


def judge_eof(voters: int, silent_s: float | None, *, tilted: bool) -> Verdict:
    """Decide on a boot whose liveness connection ended and whose probes fail."""
    if tilted:
        return Verdict(Act.NOTHING, "observer in tilt")
    if silent_s is None:
        return Verdict(Act.BURY, "replaced by a newer boot")
    if voters >= 2:
        return Verdict(Act.BURY, f"connection ended, seen by {voters} agents")
    if silent_s >= UNMOVED_BEAT_S:
        return Verdict(Act.BURY, f"connection ended, no beat for {silent_s:.1f} s")
    return Verdict(Act.NOTHING, "connection ended, not confirmed yet")


def is_suspected(beat_age_s: float, *, beat_s: float, threshold: int) -> bool:
    """Whether an agent is shown as suspected (SDOWN): `threshold` beats missed."""
    return beat_age_s > beat_s * threshold


def after_deposing(evidence: str) -> Act:
    """Decide what becomes of a deposed primary's work at once (PROTOCOLS 7.3, end)."""
    match evidence:
        case "eof" | "released":
            return Act.BURY
        case "lease":
            return Act.RELEASE_TURNS  # it may only be cut off from Redis: its boot key decides about the rest
        case _:
            return Act.NOTHING


def why_no_new_conversation(view: ClusterView, min_secondaries: int) -> str:
    """Return why none may begin now, '' when it may: what is promised must not rest on fewer agents than were there.

    It applies once this epoch's cluster has had `min_secondaries` (each agent's record names the epoch it knew last),
    so a cluster that begins, or that has just lost its primary, accepts.
    """
    if view.lease is None:
        return ""
    others = [agent for agent in view.agents if agent.id != view.lease.holder]
    had = sum(agent.config_epoch >= view.lease.epoch for agent in others)
    reachable = sum(agent.boot_alive for agent in others)
    if reachable >= min_secondaries or had < min_secondaries:
        return ""
    return (
        f"Only {reachable} of at least {min_secondaries} agents beside the primary can be reached, so no new "
        "conversation begins; existing ones go on. Start the missing agents, or set CLUSTER_MIN_SECONDARIES=0 to do "
        "without them."
    )
