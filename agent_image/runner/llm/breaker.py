"""Which model to ask next: a circuit breaker per model and the decision over all of them. Pure, no I/O, no clock."""

from collections.abc import Collection, Sequence

import msgspec

from agent_image.runner.llm.faults import request_at_fault
from appliance.core.errors import ModelBroke, ModelError

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
LONGEST_WISH_S = 60.0
"""More than this of a provider's Retry-After is not obeyed: it is only asked again, politely, once a minute."""
BREAKS_TOLERATED = 2
"""One bad message can break a healthy model's answer, so it takes three in a row to pause the model for all."""


class Breaker(msgspec.Struct, frozen=True):
    """What is known of one model: closed (`retry_at` 0), open until `retry_at`, then half-open for one probe."""

    failures: int = 0
    retry_at: float = 0.0
    probing: bool = False
    reason: str = ""

    def ready(self, now: float) -> bool:
        """Tell whether the model may be asked: closed, or due for its probe and nobody is probing it."""
        return not self.retry_at or (now >= self.retry_at and not self.probing)

    def asked(self) -> "Breaker":
        """Return the state while a call runs whose answer decides: a probe, if the breaker is not closed."""
        return msgspec.structs.replace(self, probing=bool(self.retry_at))

    def answering(self) -> "Breaker":
        """Return the state once a model says something: open to all; failures count until an answer is whole."""
        return Breaker(failures=self.failures)

    def left(self) -> "Breaker":
        """Return the state after a call that was cancelled: it says nothing about the model."""
        return msgspec.structs.replace(self, probing=False)

    def failed(self, error: ModelError, now: float) -> "Breaker":
        """Return the state after a failure: pauses double, unless the provider says when to come back."""
        if request_at_fault(error):
            return Breaker()
        failures = self.failures + 1
        if isinstance(error, ModelBroke) and failures <= BREAKS_TOLERATED and not self.retry_at:
            return Breaker(failures=failures)
        pause = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE_S)
        wish = error.data.get("retry_after")
        if isinstance(wish, float):
            pause = min(wish, LONGEST_WISH_S)
        return Breaker(failures=failures, retry_at=now + pause, reason=error.detail)


def next_model(breakers: Sequence[Breaker], tried: Collection[int], now: float) -> int | None:
    """Return which model to ask next, or None if all were tried.

    The first that is ready, in order of preference. If none is, the one due soonest is asked all the same: an open
    breaker means "prefer another", and where there is no other a try is better than a certain error.
    """
    untried = [i for i in range(len(breakers)) if i not in tried]
    ready = (i for i in untried if breakers[i].ready(now))
    return next(ready, None) if any(breakers[i].ready(now) for i in untried) else _soonest(breakers, untried)


def _soonest(breakers: Sequence[Breaker], untried: Sequence[int]) -> int | None:
    return min(untried, key=lambda i: breakers[i].retry_at, default=None)


def why_not_preferred(breakers: Sequence[Breaker], picked: int, failures: Sequence[ModelError], name: str) -> str:
    """Return why the answer comes from `name` and not from a model before it; empty if it is the preferred one."""
    if not picked:
        return ""
    waiting = [breaker.reason for breaker in breakers[:picked] if breaker.reason]
    said = dict.fromkeys([*waiting, *(error.detail for error in failures)])
    return f"{'; '.join(reason.rstrip('.') for reason in said)}, fell back to {name}"
