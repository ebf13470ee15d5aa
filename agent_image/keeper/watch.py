"""Watching the other agents: end-of-file on a liveness connection, silence in the registry (PROTOCOLS 6.4, 7.3)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from agent_image.keeper.parts import Parts
from appliance.core import failpoints, logs
from appliance.core.clock import monotonic
from appliance.core.errors import NexusError
from appliance.core.health import EOF_WINDOW_S, Act, Verdict, judge_eof, judge_silence
from appliance.core.records import Agent, ClusterView, Lease

log = logs.get("keeper")
POLL_S, SILENT_S = 0.25, 0.1
"""Between looks; while a boot is silent, as often as there is a new view."""
_ABOUT_S = 0.05
"""So much earlier than after a whole period a view counts as the next one: its reader keeps time by another clock."""
VOTE_WINDOW_MS = 1500
_PROBE_PAUSE_S = 0.03
_ORPHAN_POLLS = 8
"""Boots that PostgreSQL believes alive and the registry does not know are looked for every this many polls."""

Suspect = Callable[[Lease, float | None], None]
"""Told the lease of a primary whose connection ended and when (own monotonic seconds); None: it answers again."""


def _nobody(_lease: Lease, _ended_at: float | None) -> None:
    pass


class Watch:
    """Finds dead boots and hands their work on."""

    def __init__(self, me: str, parts: Parts) -> None:
        self._me = me
        self._registry = parts.registry
        self._ledger = parts.ledger
        self._liveness = parts.liveness
        self._tilt = parts.tilt
        self._suspect: Suspect = _nobody
        self._peers: dict[str, asyncio.Task[None]] = {}
        self._gone_since: dict[str, float] = {}
        self._done: set[tuple[str, Act]] = set()
        self._view: ClusterView | None = None
        self._news = asyncio.Event()

    def tell(self, suspect: Suspect) -> None:
        """Name who wants to know that the primary's connection ended, or that it answers again."""
        self._suspect = suspect

    def see(self, view: ClusterView | None) -> None:
        """Take the registry as it was just read; None: it could not be."""
        self._view = view
        self._news.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as connections:
            polls = 0
            while True:
                due = monotonic() + (SILENT_S if self._gone_since else POLL_S)
                try:
                    if self._view is not None:
                        self._follow(connections, self._view)
                        await self._judge_silent(self._view, with_orphans=polls % _ORPHAN_POLLS == 0)
                except NexusError as error:
                    log.warning("watch_failed", error=str(error))
                polls += 1
                await self._next_view(due)

    async def _next_view(self, due: float) -> None:
        """Wait for the first view read at `due` or about then; a reader that looks more often is not followed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * POLL_S):
                while True:
                    await self._news.wait()
                    self._news.clear()
                    if monotonic() > due - _ABOUT_S:
                        return

    def _follow(self, connections: asyncio.TaskGroup, view: ClusterView) -> None:
        """Hold one liveness connection to every living peer."""
        self._peers = {boot: task for boot, task in self._peers.items() if not task.done()}
        for peer in view.agents:
            if peer.id != self._me and peer.boot_alive and peer.boot not in self._peers and peer.liveness_port:
                self._peers[peer.boot] = connections.create_task(self._hold(peer), name=f"peer {peer.id}")

    async def _hold(self, peer: Agent) -> None:
        found = await self._liveness.connect(peer.host, peer.liveness_port)
        if found is None:
            return  # not up yet or not reachable from here: only silence speaks then
        hello, reader, writer = found
        try:
            if hello.boot == peer.boot:
                await reader.read()
                log.info("connection_ended", peer=peer.id, boot=peer.boot)
        except OSError as error:
            log.info("connection_ended", peer=peer.id, boot=peer.boot, error=str(error))
        finally:
            writer.close()
        if hello.boot == peer.boot:
            await self._confirm_death(peer)

    async def _confirm_death(self, peer: Agent) -> None:
        """Bury the boot once its silence is confirmed; give up as soon as it is heard or seen beating."""
        ended_at, lease = monotonic(), await self._lease_of(peer)
        if not await self._probes_fail(peer):
            return None
        if lease is not None:
            self._suspect(lease, ended_at)
        while (current := self._record(peer)) is not None and current.boot == peer.boot and current.boot_alive:
            try:
                voters, silent_s = await self._registry.suspect(
                    peer.id, peer.boot, voter=self._me, window_ms=VOTE_WINDOW_MS
                )
                verdict = judge_eof(voters, silent_s, tilted=bool(self._tilt))
                if verdict.act is Act.BURY:
                    return await self.carry_out(peer.id, peer.boot, verdict)
            except NexusError as error:
                log.warning("suspicion_failed", peer=peer.id, error=str(error))
            if not await self._probes_fail(peer):
                return await self._take_back(peer, lease)
        return None

    async def _take_back(self, peer: Agent, lease: Lease | None) -> None:
        """Suspect a peer no more that answers again."""
        if lease is not None:
            self._suspect(lease, None)
        try:
            await self._registry.withdraw_suspicion(peer.boot, voter=self._me)
        except NexusError as error:
            log.warning("suspicion_stays", peer=peer.id, error=str(error))  # until its window has passed

    async def _lease_of(self, peer: Agent) -> Lease | None:
        """Return the lease as it stands at this moment, if it is this boot's: a renewal after it means life."""
        try:
            lease = (await self._registry.view()).lease
        except NexusError as error:
            log.warning("lease_unread", error=str(error))
            return None
        return lease if lease and lease.boot == peer.boot else None

    def _record(self, peer: Agent) -> Agent | None:
        return self._view.agent(peer.id) if self._view else None

    async def _probes_fail(self, peer: Agent) -> bool:
        """Whether signed probes of this boot fail for the whole confirmation window."""
        until = monotonic() + EOF_WINDOW_S
        while monotonic() < until:
            hello = await self._liveness.probe(peer.host, peer.liveness_port)
            if hello is not None and hello.boot == peer.boot:
                return False
            await asyncio.sleep(_PROBE_PAUSE_S)
        return True

    async def _judge_silent(self, view: ClusterView, *, with_orphans: bool) -> None:
        gone = {agent.boot: agent.id for agent in view.agents if not agent.boot_alive and agent.id != self._me}
        if with_orphans or self._gone_since:
            known = {agent.boot for agent in view.agents}
            living = await self._ledger.living_boots()
            gone |= {boot: agent for boot, agent in living.items() if boot not in known and agent != self._me}
            gone = {boot: agent for boot, agent in gone.items() if boot in living}
        now = monotonic()
        self._gone_since = {boot: self._gone_since.get(boot, now) for boot in gone}
        # A boot that came back may fall silent again: what was done about it then does not count now.
        self._done = {(boot, act) for boot, act in self._done if boot in gone or act is Act.BURY}
        for boot, agent in gone.items():
            verdict = judge_silence(now - self._gone_since[boot], tilted=bool(self._tilt))
            if verdict.act is not Act.NOTHING:
                await self.carry_out(agent, boot, verdict)

    async def carry_out(self, agent_id: str, boot: str, verdict: Verdict) -> None:
        """Hand the boot's work on, once per boot and act; any agent may do it, rows decide who was first."""
        if (boot, verdict.act) in self._done:
            return
        if verdict.act is Act.BURY:
            await self._ledger.bury(boot, verdict.reason)
        failpoints.reach("in_release")
        released = await self._ledger.release(boot, turns_only=verdict.act is Act.RELEASE_TURNS)
        self._done.add((boot, verdict.act))
        log.warning(verdict.act, peer=agent_id, boot=boot, reason=verdict.reason, released=released)
        if verdict.act is Act.BURY:
            await self._registry.leave(agent_id, boot, on_purpose=False)
