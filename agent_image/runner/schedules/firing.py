"""What the primary does with what is due: a turn for each instant, once, late rather than never."""

from collections.abc import Awaitable, Callable

from agent_image.runner.checked import role_of
from agent_image.runner.schedules.instants import following
from agent_image.runner.schedules.words import LATE_S, label
from appliance.core import failpoints, logs
from appliance.core.errors import BadInput
from appliance.core.metrics import SCHEDULE_LATENESS, SCHEDULES_FIRED
from appliance.core.schedules import Due, Firing, Schedules

log = logs.get("schedules")
AT_ONCE = 100
"""Instants fired in one sweep; the rest follow in the next second."""


def decide(due: Due) -> Firing:
    """Return what becomes of a due instant. Pure.

    What comes next counts from now: runs missed meanwhile are one late run, or none for those that skip them.

    Raises:
        BadInput: the next instant cannot be told here, or the job's text is no possible message any more.
    """
    it, said = due.schedule, label(due)
    if it.kind == "once":
        return Firing(next_at=None, message=said, answer=it.text)
    return Firing(
        next_at=following(it.cron, it.time_zone, due.now),
        message=it.text,
        role=role_of(it.text),
        note=said,
        skip=it.missed == "skip" and due.late_s > LATE_S,
    )


class Firer:
    """Fires as the primary of an epoch; `tell` is given the ids of each turn made and of its message."""

    def __init__(self, schedules: Schedules, boot: str, tell: Callable[[str, str], Awaitable[None]]) -> None:
        self._schedules = schedules
        self._boot = boot
        self._tell = tell

    async def fire_due(self, epoch: int) -> None:
        """Fire what is due.

        Raises:
            StaleEpoch: another primary is in force. StoreAway: what is left is still due.
        """
        for due in await self._schedules.due(AT_ONCE):
            try:
                firing = decide(due)
            except BadInput as error:  # one that cannot be fired here holds up nobody else's
                log.error("schedule_unfit", schedule=due.schedule.id, error=error.detail)
                continue
            fired = await self._schedules.fire(epoch, self._boot, due, firing)
            failpoints.reach("after_fire")
            if fired.outcome == "overtaken":
                continue
            SCHEDULES_FIRED.labels(fired.outcome).inc()
            log.info("schedule_fired", schedule=due.schedule.id, outcome=fired.outcome, late_s=round(due.late_s, 3))
            if fired.outcome == "fired":
                SCHEDULE_LATENESS.observe(due.late_s)
                await self._tell(fired.turn, fired.message)
