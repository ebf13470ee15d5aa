"""Places where a test lets a process die or stop: `NEXUS_FAILPOINTS="after_cas:kill,before_commit:stop"`.

Without the variable a place costs one look into an empty dictionary. What is not a place is refused when the process
starts, so that no test goes on hurting nothing.
"""

import os
import signal
import time

PLACES = frozenset({
    "before_cas", "after_cas", "after_install", "after_release", "in_release", "mid_drain",  # keeper
    "before_commit", "after_commit_before_done_event",  # runner, turns
    "after_claim_before_ack", "after_commit_before_told",  # runner, tasks
    "after_fire",  # runner, schedules
    "after_promotion_kept",  # runner, memories
})  # fmt: skip
ACTIONS = ("kill", "stop", "raise", "block")
"""SIGKILL or SIGSTOP this process, raise RuntimeError, or hold its event loop for BLOCK_S."""
BLOCK_S = 30.0


def parse(text: str) -> dict[str, str]:
    """Return place -> action; ValueError for what is not one."""
    armed = dict(part.split(":", 1) for part in text.split(",") if part)
    for place, action in armed.items():
        if place not in PLACES or action not in ACTIONS:
            raise ValueError(f"NEXUS_FAILPOINTS: {place}:{action} is not a place and an action")
    return armed


_ARMED = parse(os.environ.get("NEXUS_FAILPOINTS", ""))


def reach(place: str) -> None:
    """Do here what the environment says, if it says anything."""
    action = _ARMED.get(place)
    if action is None:
        return None
    if action == "raise":
        raise RuntimeError(f"failpoint {place}")
    if action == "block":
        return time.sleep(BLOCK_S)
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    return None
