"""From "the votes suffice" to "serving": compare-and-set, lease, release of what the dead primary ran, history."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent_image.keeper.parts import Parts
from appliance.core import failpoints, logs
from appliance.core.clock import monotonic
from appliance.core.election.decide import Snapshot, Verdict, candidates, evidence_of, why_lost
from appliance.core.errors import StaleEpoch
from appliance.core.health import Act, after_deposing
from appliance.core.health import Verdict as DeathVerdict
from appliance.core.records import Agent, ClusterView

log = logs.get("keeper")
CarryOut = Callable[[str, str, DeathVerdict], Awaitable[None]]


@dataclass
class Case:
    """What speaks against the holder of one epoch, with the moments that history shows (own monotonic seconds)."""

    epoch: int
    since: float
    jitter_s: float
    seq: int = 0
    ended_at: float | None = None
    confirmed_at: float | None = None
    absent_since: float | None = None
    voted_at: float | None = None
    first_vote_at: float | None = None

    def detect_ms(self, holder: Agent | None) -> float:
        """From the last sign of life (a connection's end, else the last beat) to the suspicion."""
        if self.ended_at is not None and self.confirmed_at is not None:
            return (self.confirmed_at - self.ended_at) * 1000
        return holder.beat_age_s * 1000 - (monotonic() - self.since) * 1000 if holder else 0.0


class Promotion:
    """Carries an election out for this agent."""

    def __init__(self, parts: Parts, carry_out: CarryOut) -> None:
        self._describe = parts.describe
        self._election = parts.election
        self._seat = parts.seat
        self._carry_out = carry_out

    async def stand(self, view: ClusterView, seen: Snapshot, verdict: Verdict, case: Case) -> bool:
        """Try to become primary; False when somebody else did.

        Raises:
            StoreAway: a store went away in the middle; `Seat.check` completes what PostgreSQL says was won.
        """
        me, began = self._describe(), monotonic()
        failpoints.reach("before_cas")
        epoch = await self._election.elect(
            me.id, me.boot, voted=seen.epoch, evidence=self._evidence(view, seen, verdict, case)
        )
        if epoch is None:
            log.info("election_lost", voted=seen.epoch)
            return False
        failpoints.reach("after_cas")
        elected = monotonic()
        log.warning("elected", epoch=epoch, reason=verdict.reason, sole=verdict.sole)
        if not await self._seat.take(me.boot, epoch):
            return False
        failpoints.reach("after_install")
        await self._promote(seen, epoch, elect_ms=(elected - began) * 1000, elected=elected)
        return True

    def _evidence(self, view: ClusterView, seen: Snapshot, verdict: Verdict, case: Case) -> dict[str, object]:
        ranked = candidates(view.agents, seen.epoch, seen.holder)
        lost = why_lost(ranked, seen.me, named_by=seen.holder if seen.successor else "")
        decided = case.confirmed_at or case.since
        return {
            "kind": evidence_of(seen),
            "reason": verdict.reason,
            "sole": verdict.sole,
            "voters": list(seen.tally.voters) if seen.tally else [],
            "quorum": seen.tally.quorum if seen.tally else 0,
            "candidates": [
                {"agent": it.agent, "score": it.score, "lost": lost.get(it.agent, "")} for it in ranked
            ],
            "detect_ms": 0.0 if seen.released else round(max(0.0, case.detect_ms(view.agent(seen.holder))), 1),
            "agree_ms": round((monotonic() - decided) * 1000, 1),
        }  # fmt: skip

    async def _promote(self, seen: Snapshot, epoch: int, *, elect_ms: float, elected: float) -> None:
        """Hand on what the deposed primary ran (PROTOCOLS 7.3); nothing else has to be taken over in bulk."""
        act = after_deposing(evidence_of(seen))
        if act is not Act.NOTHING and seen.holder_boot not in ("", self._seat.boot):
            verdict = DeathVerdict(act, f"deposed as primary ({evidence_of(seen)})")
            await self._carry_out(seen.holder, seen.holder_boot, verdict)
        promote_ms = (monotonic() - elected) * 1000
        try:
            await self._election.record_promotion(epoch, self._seat.boot, elect_ms=elect_ms, promote_ms=promote_ms)
        except StaleEpoch:
            self._seat.step_down("a later epoch came at once")
