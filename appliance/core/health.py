"""When is a boot dead? Pure: durations in, a verdict with its reason out (PROTOCOLS 6.4, 7.3)."""

from enum import StrEnum

import msgspec

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
