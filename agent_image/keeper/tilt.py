"""How far a keeper may trust its own view: after a gap it declares nobody dead for one lease (PROTOCOLS 6.1)."""

from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.health import CLOCK_STEP_S, TILT_GAP_S
from appliance.core.settings import BEAT_S, LEASE_S

log = logs.get("keeper")


class Tilt:
    """True while this keeper must neither vote nor bury.

    Triggers: a gap to Redis or of the own timer, a step of Redis' clock, a Redis that lost its data. It lasts while the
    trigger does and one lease after the first good reply; under steady overload it is triggered again at most once in a
    row, since a cluster in which everybody is always in tilt would never replace anybody.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._again = False
        self._generation: str | None = None
        self._clock_offset: float | None = None
        self._begin_in_tilt = False
        self.redis_answered_at = monotonic()

    def __bool__(self) -> bool:
        return monotonic() < self._until or monotonic() - self.redis_answered_at > TILT_GAP_S

    def begin_in_tilt(self) -> None:
        """Start distrustful: this keeper cannot know whether Redis was away a moment ago."""
        self._begin_in_tilt = True

    def note_reply(self, *, late_s: float, redis_time: float, generation: str | None) -> None:
        """Take in a good reply to a beat; `late_s` is how much later than planned this keeper itself was."""
        now = monotonic()
        gap_s = now - self.redis_answered_at - BEAT_S
        self.redis_answered_at = now
        if late_s > TILT_GAP_S or gap_s > TILT_GAP_S:
            self._trigger(f"a gap of {max(late_s, gap_s):.2f} s")
        elif self._begin_in_tilt:
            self._trigger("just started")
        elif now >= self._until + LEASE_S:
            self._again = False
        self._begin_in_tilt = False
        self.note_view(redis_time, generation)

    def note_view(self, redis_time: float, generation: str | None) -> None:
        """Compare any reply's clock and generation with what was known."""
        offset = redis_time - monotonic()
        if self._clock_offset is not None and abs(offset - self._clock_offset) > CLOCK_STEP_S:
            self._trigger(f"Redis' clock stepped by {offset - self._clock_offset:.1f} s")
        self._clock_offset = offset
        if self._generation is not None and generation != self._generation:
            self._trigger("Redis lost its data", always=True)
        self._generation = generation or self._generation

    def _trigger(self, why: str, *, always: bool = False) -> None:
        now = monotonic()
        inside = now < self._until + LEASE_S
        if inside and self._again and not always:
            return
        self._again = inside
        self._until = now + LEASE_S
        log.warning("tilt", why=why)
