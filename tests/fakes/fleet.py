"""A fleet in memory whose members beat in a real registry and obey orders as keepers do, on real stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from appliance.core.desired_fleet import agent_id, slot_of
from appliance.core.election import Election
from appliance.core.errors import NexusError, NotFound
from appliance.core.orders import Orders
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Status
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from control_plane.fleet import Member, MemberState, Stats

BEAT_S = 0.1


class MemoryFleet:
    """Members are entries; what was asked of it is in `asked`."""

    def __init__(self, redis: Redis, postgres: Postgres, *slots: int) -> None:
        self._registry = Registry(redis)
        self._orders = Orders(redis, postgres)
        self._election = Election(redis, postgres)
        self._epoch = 1
        self.primary = 0
        self.states: dict[int, MemberState] = dict.fromkeys(slots, MemberState.RUNNING)
        self.details: dict[int, str] = {}
        self.loads: dict[int, int] = {}
        self.lives: dict[int, int] = dict.fromkeys(slots, 1)
        self.asked: list[tuple[str, int]] = []
        self.broken: NexusError | None = None
        self.holds_drains = False
        """Drains do not end while this is so."""
        self._draining: set[int] = set()

    async def members(self) -> tuple[Member, ...]:
        if self.broken:
            raise self.broken
        return tuple(
            Member(agent_id(slot), slot, state, self.details.get(slot, ""))
            for slot, state in sorted(self.states.items())
        )

    async def start(self, slot: int) -> None:
        self._ask("start", slot)
        if self.states.get(slot) is not MemberState.RUNNING:
            self.lives[slot] = self.lives.get(slot, 0) + 1
        self.states[slot] = MemberState.RUNNING
        self._draining.discard(slot)

    async def stop(self, slot: int) -> None:
        self._ask("stop", slot)
        self._there(slot)
        await self._end(slot)

    async def remove(self, slot: int) -> None:
        self._ask("remove", slot)
        if slot in self.states:
            await self._end(slot)
            del self.states[slot]

    async def restart(self, slot: int) -> None:
        self._ask("restart", slot)
        self._there(slot)
        await self._end(slot)
        self.lives[slot] += 1
        self.states[slot] = MemberState.RUNNING

    async def kill(self, slot: int) -> None:
        self._ask("kill", slot)
        self._there(slot)
        await self._end(slot)

    async def freeze(self, slot: int, seconds: float) -> None:
        self._ask("freeze", slot)
        self._there(slot)

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        self._there(slot)
        yield "a line"

    async def stats(self) -> tuple[Stats, ...]:
        return ()

    async def _end(self, slot: int) -> None:
        self.states[slot] = MemberState.STOPPED
        self._draining.discard(slot)
        await self._registry.leave(agent_id(slot), self._boot(slot), on_purpose=True)

    def _ask(self, verb: str, slot: int) -> None:
        if self.broken:
            raise self.broken
        self.asked.append((verb, slot))

    def _there(self, slot: int) -> None:
        if slot not in self.states:
            raise NotFound(f"There is no {agent_id(slot)}.")

    def _boot(self, slot: int) -> str:
        return f"00000000-0000-4000-8000-{slot:06d}{self.lives.get(slot, 0):06d}"

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Let the members beat and obey meanwhile; the first is primary."""
        await self._registry.initialise(new_generation(), 1)
        await self._beat()
        await self.lead(min(self.states))
        task = asyncio.create_task(self._live())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def lead(self, slot: int) -> None:
        """Make a member primary."""
        self.primary = slot
        self._epoch += 1
        await self._election.install(agent_id(slot), self._boot(slot), self._epoch)

    async def _live(self) -> None:
        while True:
            await self._beat()
            await self._election.renew(agent_id(self.primary), self._boot(self.primary), self._epoch)
            await self._obey()
            await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        for slot, state in list(self.states.items()):
            if state is MemberState.RUNNING:
                status = Status.DRAINING if slot in self._draining else Status.ACTIVE
                fit = status is Status.ACTIVE
                load = self.loads.get(slot, 0)
                await self._registry.beat(
                    Agent(agent_id(slot), status=status, boot=self._boot(slot), current_load=load, electable=fit)
                )

    async def _obey(self) -> None:
        for order in await self._orders.unended():
            slot = slot_of(order.agent_id)
            if order.kind == "drain" and slot and self.states.get(slot) is MemberState.RUNNING:
                self._draining.add(slot)
                if not self.holds_drains:
                    await self._orders.end(order, "drained: 0 turns were running, 0.0 s")
            elif order.kind == "switchover":
                heir = slot_of(order.agent_id) or next(it for it in self.states if it != self.primary)
                await self.lead(heir)
                await self._orders.end(order, f"{agent_id(heir)} is primary of epoch {self._epoch} after 1 ms")
