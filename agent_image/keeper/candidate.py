"""Is the primary gone, and who follows? Reads once, decides purely (core/election/decide), acts (PROTOCOLS 6.4)."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import msgspec

from agent_image.keeper.parts import Parts
from agent_image.keeper.promotion import Case, Promotion
from appliance.core import event_bus, logs
from appliance.core.clock import monotonic, until_beat
from appliance.core.election import Standing
from appliance.core.election.decide import (
    REVOTE_S,
    STAGGER_S,
    Act,
    Snapshot,
    Verdict,
    candidates,
    decide,
    evidence_of,
    rank_of,
)
from appliance.core.errors import NexusError
from appliance.core.records import Agent, ClusterView, Lease

log = logs.get("keeper")
POLL_S = 0.5
SOON_S = 0.02
"""Pause between looks while a case is open: other votes arrive at any moment."""
SILENT_S = 0.15
"""Between looks while a boot is silent: its turns are handed on a second later, not a second and a half (F22)."""
STANDING_OLD_S = 2.0
"""PostgreSQL counts as away when it has not answered for this long."""
_JITTER_S = 0.02


class Candidate:
    """Watches the primary's seat."""

    def __init__(self, parts: Parts, promotion: Promotion, see: Callable[[ClusterView | None], None]) -> None:
        self._describe = parts.describe
        self._redis = parts.redis
        self._registry = parts.registry
        self._election = parts.election
        self._liveness = parts.liveness
        self._seat = parts.seat
        self._tilt = parts.tilt
        self._promotion = promotion
        self._see = see
        self._standing: Standing | None = None
        self._standing_at = 0.0
        self._case: Case | None = None
        self._said = ""
        self._look_now = asyncio.Event()

    @property
    def can_vote(self) -> bool:
        """Whether this agent's word counts now (PROTOCOLS 6.1)."""
        return not self._tilt and not self._postgres_away

    @property
    def _postgres_away(self) -> bool:
        return monotonic() - self._standing_at > STANDING_OLD_S

    def note_standing(self, standing: Standing) -> None:
        """Take in what PostgreSQL said of the term in force."""
        if self._standing is not None and standing.term.number != self._standing.term.number:
            self._case = None
        self._standing, self._standing_at = standing, monotonic()

    def suspect(self, lease: Lease, ended_at: float | None) -> None:
        """The connection to the holder of `lease` ended then and its probes fail since; None: it answers again."""
        if ended_at is not None:
            case = self._case_of(lease.epoch)
            case.ended_at, case.seq, case.confirmed_at = ended_at, lease.seq, monotonic()
        elif self._case is not None and self._case.epoch == lease.epoch:
            self._case.ended_at = None
        self._look_now.set()

    async def run(self) -> None:
        """Look until cancelled: on a hint, when the lease should end, each half second; while one is silent, sooner."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="election hints")
            while True:
                pause = POLL_S
                self._look_now.clear()
                try:
                    pause = await self._look()
                except NexusError as error:
                    self._see(None)
                    log.warning("election_look_failed", error=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._look_now.wait()

    async def _hear(self) -> None:
        async for hint in event_bus.hear(self._redis, "health", "agent"):
            if hint.get("type") in ("sdown", "primary_released", "primary_elected"):
                self._look_now.set()

    async def _look(self) -> float:
        """Read the registry once, decide, act; return the seconds until the next look."""
        view = await self._registry.view()
        self._see(view)
        self._tilt.note_view(view.redis_time, view.generation)
        if self._standing is None or view.epoch > self._standing.term.number:
            self.note_standing(await self._election.standing(self._describe().boot))
        seen = await self._snapshot(view)
        verdict = decide(seen)
        if verdict.act is Act.COUNT:
            verdict, seen = await self._count(seen)
        self._say(verdict)
        await self._act(view, seen, verdict)
        if self._case is not None and self._case.voted_at is not None:
            return SOON_S
        pause = until_beat(POLL_S if all(it.boot_alive for it in view.agents) else SILENT_S)
        return min(pause, view.lease.left_s + SOON_S / 4) if view.lease else pause

    async def _act(self, view: ClusterView, seen: Snapshot, verdict: Verdict) -> None:
        match verdict.act:
            case Act.VOTE:
                await self._vote(seen)
            case Act.STAND:
                case = self._case_of(seen.epoch)
                self._case = None
                if not await self._promotion.stand(view, seen, verdict, case):
                    self.note_standing(await self._election.standing(self._describe().boot))
            case Act.WAIT if seen.lease_there and (not seen.ended or seen.lease_moved):
                self._case = None

    def _case_of(self, epoch: int) -> Case:
        if self._case is None or self._case.epoch != epoch:
            self._case = Case(epoch=epoch, since=monotonic(), jitter_s=random.uniform(0, _JITTER_S))  # noqa: S311
        return self._case

    async def _snapshot(self, view: ClusterView) -> Snapshot:
        assert self._standing is not None  # noqa: S101 - read before
        me, term, now = self._describe(), self._standing.term, monotonic()
        i_lead = self._seat.held or self._seat.leads(term, me.boot)
        case = self._open_case(view, i_lead=i_lead, now=now)
        named = view.released if view.released and view.released.epoch == term.number else None
        voted = case is not None and case.voted_at is not None and now - case.voted_at < REVOTE_S
        seen = Snapshot(
            me=me.id, epoch=term.number, holder=term.primary_id or "", holder_boot=term.boot or "",
            holder_dead=term.boot is not None and not self._standing.holder_lives,
            i_lead=i_lead, tilted=bool(self._tilt),
            born_s=self._standing.born_s + now - self._standing_at,
            postgres_away=self._postgres_away, paused=self._standing.paused_by is not None,
            lease_there=view.lease is not None,
            lease_moved=bool(case and view.lease and (view.lease.epoch, view.lease.seq) != (case.epoch, case.seq)),
            absent_s=now - case.absent_since if case and case.absent_since and view.lease is None else 0.0,
            ended=case is not None and case.ended_at is not None, released=named is not None,
            successor=named.successor if named else "", cannot_stand=_why_not(me),
            turn_in_s=self._turn_in_s(view, me, case, now), voted=voted,
        )  # fmt: skip
        return await self._with_claim(view, seen)

    def _open_case(self, view: ClusterView, *, i_lead: bool, now: float) -> Case | None:
        """Return the case against the present holder; a missing lease opens one by itself."""
        assert self._standing is not None  # noqa: S101 - read before
        epoch = self._standing.term.number
        if self._case is not None and (self._case.epoch != epoch or i_lead):
            self._case = None
        if view.lease is None and not i_lead:
            case = self._case_of(epoch)
            case.absent_since = case.absent_since or now
        elif self._case is not None:
            self._case.absent_since = None
        return self._case

    def _turn_in_s(self, view: ClusterView, me: Agent, case: Case | None, now: float) -> float:
        if case is None or case.first_vote_at is None:
            return 0.0
        ranked = candidates(view.agents, case.epoch, self._holder)
        due = case.first_vote_at + rank_of(ranked, me.id) * STAGGER_S + case.jitter_s
        return max(0.0, due - now)

    @property
    def _holder(self) -> str:
        return (self._standing.term.primary_id or "") if self._standing else ""

    async def _with_claim(self, view: ClusterView, seen: Snapshot) -> Snapshot:
        """Before a vote for want of a lease, ask its holder: an answer means that the own path to Redis is bad."""
        holder = view.agent(seen.holder)
        if decide(seen).act is not Act.VOTE or seen.ended or holder is None:
            return seen
        hello = await self._liveness.probe(holder.host, holder.liveness_port)
        claims = hello is not None and hello.agent == holder.id and hello.holds and hello.epoch >= seen.epoch
        return msgspec.structs.replace(seen, holder_claims=claims)

    async def _vote(self, seen: Snapshot) -> None:
        case, me = self._case_of(seen.epoch), self._describe()
        counted = await self._election.vote(
            me.id, me.boot, epoch=seen.epoch, suspect=seen.holder, evidence=evidence_of(seen)
        )
        if counted:
            case.voted_at = monotonic()
            case.first_vote_at = case.first_vote_at or case.voted_at
            self._look_now.set()

    async def _count(self, seen: Snapshot) -> tuple[Verdict, Snapshot]:
        case = self._case_of(seen.epoch)
        held_s = monotonic() - case.ended_at if case.ended_at is not None else 0.0
        tally = await self._election.may_elect(
            epoch=seen.epoch, seq=case.seq, suspect=seen.holder, evidence=evidence_of(seen), held_s=held_s
        )
        counted = msgspec.structs.replace(seen, tally=tally)
        return decide(counted), counted

    def _say(self, verdict: Verdict) -> None:
        said = f"{verdict.act}: {verdict.reason}"
        if verdict.act is not Act.WAIT and said != self._said:
            log.info("election", verdict=said)
        self._said = said


def _why_not(me: Agent) -> str:
    return "" if me.electable else f"{me.role}, {me.status}"
