"""The primary's seat in this agent's hands: take it, keep it, know when it is lost, give it up (PROTOCOLS 6.3, 6.4)."""

import asyncio

from agent_image.shared_page import SharedPage
from appliance.core import failpoints, logs
from appliance.core.clock import monotonic
from appliance.core.election import Election, Epoch
from appliance.core.errors import NexusError
from appliance.core.records import Role
from appliance.core.settings import LEASE_S

log = logs.get("keeper")
FENCE_S = 0.8 * LEASE_S
"""A primary stops acting this long after the *send* time of its last good renewal, before anyone may claim."""

LOOPS_END_WITHIN_S = 0.08
"""So long a primary's loops may take to end before its lease goes; a later write of theirs is fenced anyway."""
_LOOK_S = 0.01


class Seat:
    """What this agent holds of the cluster's authority. The shared page shows it to the runner."""

    def __init__(self, me: str, election: Election, page: SharedPage, *, idle_role: Role) -> None:
        self._me = me
        self._election = election
        self._page = page
        self._idle_role = idle_role
        self._given_up = 0
        self.boot = ""
        """The life of the runner that the seat is held for."""
        page.role = idle_role

    @property
    def held(self) -> bool:
        """Whether this agent believes that it is primary; its lease may be out all the same."""
        return self._page.role is Role.PRIMARY

    @property
    def stands(self) -> bool:
        """Whether it may act as primary now."""
        return self._page.may_act_as_primary(monotonic())

    @property
    def epoch(self) -> int:
        """The newest term this agent knows."""
        return self._page.epoch

    def leads(self, term: Epoch, boot: str) -> bool:
        """Whether `term` is this boot's own; not once it was given up, so that its agent may be elected anew."""
        return term.boot == boot and term.number > self._given_up and bool(boot)

    async def take(self, boot: str, epoch: int) -> bool:
        """Show the lease of a term just won in PostgreSQL; False when a later one is known.

        Raises:
            StoreAway: Redis is away; `check` shows the lease as soon as it is back.
        """
        sent = monotonic()
        if not await self._election.install(self._me, boot, epoch) and not self._shown(boot, epoch):
            return False
        self._sit(boot, epoch, sent)
        log.info("primary", epoch=epoch)
        return True

    def _shown(self, boot: str, epoch: int) -> bool:
        """Whether `check` was quicker: it had read the row between its commit and the showing of the lease."""
        return self.stands and (self.boot, self._page.epoch) == (boot, epoch)

    def _sit(self, boot: str, epoch: int, sent: float) -> None:
        self.boot, self._page.epoch = boot, epoch
        self._page.lease_deadline = sent + FENCE_S
        self._page.role = Role.PRIMARY

    async def keep(self, boot: str) -> None:
        """Renew the lease once; after Redis lost it, show it again if PostgreSQL agrees."""
        sent = monotonic()
        answer = await self._election.renew(self._me, self.boot, self._page.epoch)
        if boot != self.boot or answer == "other":
            return self.step_down(f"lease is {answer}" if boot == self.boot else "a new boot of its own")
        if answer == "absent":
            return await self.check(await self._election.current(), boot, lease_there=False)
        self._page.lease_deadline = sent + FENCE_S
        return None

    async def check(self, term: Epoch, boot: str, *, lease_there: bool = True, may_show: bool = True) -> None:
        """Compare with PostgreSQL: step down for a later term; show a lease that is mine and that Redis does not know.

        A candidate may have died right after its commit, or the reply to our own was lost: the row decides.
        """
        mine = self.leads(term, boot)
        if self.held and not mine:
            return self.step_down(f"epoch {term.number} belongs to {term.primary_id}")
        if not self.held:
            self._page.epoch = max(self._page.epoch, term.number)
        if mine and may_show and not (self.stands and lease_there):
            await self._show_again(boot, term.number)
        return None

    async def _show_again(self, boot: str, epoch: int) -> None:
        sent = monotonic()
        shown = (
            await self._election.renew(self._me, boot, epoch) == "ok"
            or await self._election.reassert(self._me, boot, epoch)
            or await self._election.install(self._me, boot, epoch)
        )
        if shown:
            self._sit(boot, epoch, sent)
            log.warning("lease_reasserted", epoch=epoch)

    def step_down(self, reason: str) -> None:
        """Stop being primary; the runner ends its loops of a primary as soon as it looks."""
        if self.held:
            self._page.role = self._idle_role
            log.warning("stepped_down", epoch=self._page.epoch, reason=reason)

    async def give_up(self, *, successor: str, kind: str) -> None:
        """Release the lease after the last authoritative write, so that nobody has to wait for its end."""
        if not self.held:
            return
        self._given_up = self._page.epoch
        self.step_down(f"released ({kind}), successor {successor or 'to be agreed'}")
        until = monotonic() + LOOPS_END_WITHIN_S
        while self._page.reigning and monotonic() < until:  # noqa: ASYNC110 - the page is memory of another process
            await asyncio.sleep(_LOOK_S)
        try:
            await self._election.release(self._me, self.boot, self._given_up, successor=successor, kind=kind)
        except NexusError as error:
            log.warning("release_failed", error=str(error))  # the lease ends by itself
        failpoints.reach("after_release")
