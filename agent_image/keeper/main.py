"""Builds the keeper and runs its loops in one task group; SIGTERM hands everything back before the end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from agent_image.keeper.beacon import Beacon
from agent_image.keeper.brake import DEATHS, PAUSE_S, WITHIN_S, Brake
from agent_image.keeper.candidate import Candidate
from agent_image.keeper.child import Child
from agent_image.keeper.indexes import Indexes
from agent_image.keeper.liveness import Hello, Liveness
from agent_image.keeper.orders import Orders
from agent_image.keeper.parts import Parts
from agent_image.keeper.promotion import Promotion
from agent_image.keeper.seat import Seat
from agent_image.keeper.stall import Stall
from agent_image.keeper.tidy import Tidy
from agent_image.keeper.tilt import Tilt
from agent_image.keeper.watch import Watch
from agent_image.shared_page import SharedPage
from appliance.core import logs, settings
from appliance.core.clock import monotonic, until_beat
from appliance.core.election import Election
from appliance.core.errors import DuplicateAgent, NexusError, SettingsError, StoreAway
from appliance.core.health import EOF_WINDOW_S
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Role, Status
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import BEAT_S, Settings
from appliance.core.task_ledger import TaskLedger
from appliance.core.version import VERSION

log = logs.get("keeper")
T = TypeVar("T")
_STORE_RETRY_S = 0.5
_STANDING_S = 1.0
HAND_BACK_S = 3.0
"""Seconds the end of a keeper waits for the stores, after its runner has ended."""


class Keeper:
    """One agent's keeper: wires the loops together and knows the order of their beginning and end."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._started_at = time.time()
        self._port = config.agent_port or _free_port(config.agent_host)
        self._page = SharedPage.create()
        self._child = Child(self._page, self._port)
        self._liveness = Liveness(config, self._hello)
        self._parts = self._built(config)
        self._ledger, self._seat, self._registry = self._parts.ledger, self._parts.seat, self._parts.registry
        self._stall = Stall(self._parts, self._child)
        self._beacon = Beacon(self._parts, lambda: self._stall.lease_may_not_go_on)
        self._watch = Watch(config.cluster_agent_id, self._parts)
        promotion = Promotion(self._parts, self._watch.carry_out)
        self._candidate = Candidate(self._parts, promotion, self._watch.see)
        self._watch.tell(self._candidate.suspect)
        self._orders = Orders(self._parts)
        self._brake = Brake()
        self._tidy = Tidy(self._parts)
        self._indexes = Indexes(self._parts)

    def _built(self, config: Settings) -> Parts:
        redis = Redis(config)
        postgres = Postgres(config, application=f"keeper {config.cluster_agent_id}")
        election = Election(redis, postgres)
        idle = Role.STANDBY if config.cluster_role == "standby" else Role.SECONDARY
        return Parts(
            describe=self._describe,
            redis=redis,
            postgres=postgres,
            registry=Registry(redis),
            ledger=TaskLedger(postgres, turn_timeout_s=config.model_turn_timeout, max_queued=1),
            election=election,
            liveness=self._liveness,
            page=self._page,
            seat=Seat(config.cluster_agent_id, election, self._page, idle_role=idle),
            tilt=Tilt(),
        )

    async def run(self) -> None:
        """Live until SIGTERM or SIGINT.

        Raises:
            SettingsError: a store does not serve. DuplicateAgent: this id is in use.
        """
        await self._parts.postgres.open()
        try:
            await self._begin()
            await self._live()
        finally:
            # Also for a refused agent: an open pool's workers swallow cancellations and would keep it from ending.
            await self._parts.postgres.aclose()
            await self._parts.redis.aclose()

    async def _begin(self) -> None:
        log.info("stores_checked", redis=await _patiently(self._parts.redis.check), library=await self._load_library())
        await _patiently(self._refuse_duplicate)
        await _patiently(self._distrust_own_start)
        await self._liveness.start()

    async def _live(self) -> None:
        # Until here there is nothing to hand back, so a signal simply ends a keeper that waits for its stores.
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with asyncio.TaskGroup() as loops:
            living = [
                loops.create_task(self._child.run(self._register, self._ended), name="runner"),
                loops.create_task(self._beacon.run(), name="beacon"),
                loops.create_task(self._watch.run(), name="watch"),
                loops.create_task(self._candidate.run(), name="candidate"),
                loops.create_task(self._stall.run(), name="stall"),
                loops.create_task(self._orders.run(), name="orders"),
                loops.create_task(self._ask_postgres(), name="standing"),
                loops.create_task(self._tidy.run(), name="tidy"),
                loops.create_task(self._indexes.run(), name="indexes"),
            ]
            await stopped.wait()
            await self._stop(living)

    async def _stop(self, living: list[asyncio.Task[None]]) -> None:
        """Drain, end the runner, hand back what is left; with the stores away the others find the boot silent."""
        runner, *others = living
        await self._orders.drain(self._config.cluster_drain_timeout)
        await self._child.stop()
        await asyncio.wait({runner}, timeout=HAND_BACK_S)
        for task in (runner, *others):
            task.cancel()
        await self._liveness.close()
        log.info("keeper_stopped")

    async def _distrust_own_start(self) -> None:
        """Vote only after a lease's time if somebody may hold one: Redis may have been away until a moment ago."""
        if (await self._parts.election.standing("")).holder_lives:
            self._parts.tilt.begin_in_tilt()

    async def _load_library(self) -> str:
        await _patiently(self._parts.redis.load_library)
        return "loaded"

    async def _refuse_duplicate(self) -> None:
        """Bury this id's former boots, unless one of them still answers (PROTOCOLS 6.1)."""
        me = self._config.cluster_agent_id
        record = (await self._registry.view()).agent(me)
        for boot in await self._ledger.living_boots(me):
            if record and record.boot == boot and record.boot_alive and await self._answers(record):
                raise DuplicateAgent(agent=me, boot=boot)
            await self._ledger.bury(boot, "replaced by a new start of its agent")
            await self._ledger.release(boot, turns_only=False)

    async def _answers(self, record: Agent) -> bool:
        for _ in range(3):
            hello = await self._liveness.probe(record.host, record.liveness_port)
            if hello is not None and hello.boot == record.boot:
                return True
            await asyncio.sleep(EOF_WINDOW_S / 3)
        return False

    async def _register(self, boot: str) -> None:
        await _patiently(lambda: self._ledger.register_boot(boot, self._config.cluster_agent_id))

    async def _ended(self, boot: str, reason: str, crashed: bool) -> None:
        """Report the death of our own runner: the lease first, so that the others agree at once, then its work."""
        await self._seat.give_up(successor="", kind="child")
        if crashed:
            self._brake_after_death()
            await _patiently(lambda: self._ledger.note_crash(boot))
        await _patiently(lambda: self._hand_back(boot, reason))
        # An agent that ends on purpose is not missed; one that starts again is.
        await self._beacon.leave(boot, on_purpose=self._child.stopping)

    def _brake_after_death(self) -> None:
        if until := self._brake.died(monotonic()):
            log.error("tasks_braked", seconds=PAUSE_S, deaths=DEATHS, within_s=WITHIN_S)
            self._page.brake_deadline = until

    async def _hand_back(self, boot: str, reason: str) -> None:
        await self._ledger.bury(boot, reason)
        released = await self._ledger.release(boot, turns_only=False)
        log.info("boot_ended", boot=boot, reason=reason, released=released)

    async def _ask_postgres(self) -> None:
        """Each second, and at once after having been stopped: which term is in force, and was this boot buried?"""
        while True:
            try:
                standing = await self._parts.election.standing(self._child.boot)
                self._candidate.note_standing(standing)
                if self._child.pid and standing.i_am_dead:
                    log.warning("boot_was_buried", boot=self._child.boot)
                    self._seat.step_down("this boot was buried")
                    await self._child.replace(crashed=False)
                else:
                    may_show = not self._stall.lease_may_not_go_on
                    await self._seat.check(standing.term, self._child.boot, may_show=may_show)
            except NexusError as error:
                log.warning("standing_unknown", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_beat(_STANDING_S)):
                    await self._beacon.woke_late.wait()
            self._beacon.woke_late.clear()

    def _hello(self) -> Hello:
        return Hello(
            agent=self._config.cluster_agent_id, boot=self._child.boot, epoch=self._page.epoch, role=self._page.role,
            holds=self._seat.stands,
        )  # fmt: skip

    def _describe(self) -> Agent:
        config, page = self._config, self._page
        return Agent(
            id=config.cluster_agent_id, role=page.role, status=page.status, boot=self._child.boot,
            host=config.agent_host, port=self._port, liveness_port=self._liveness.port, keeper_pid=os.getpid(),
            runner_pid=self._child.pid, models=config.model_names(), current_load=page.load,
            max_load=config.cluster_max_load, queued=page.queued, config_epoch=page.epoch,
            started_at=self._started_at, loop_lag_ms=round(page.loop_lag_ms, 1), version=VERSION,
            can_vote=self._candidate.can_vote and page.status is not Status.DRAINING,
            electable=config.cluster_role != "secondary" and page.status is Status.ACTIVE,
            capabilities=config.capabilities(terminal=bool(page.terminal)),
        )  # fmt: skip


async def _patiently(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step until the stores answer: a store that is away must never look like a dead peer."""
    waited = 0
    while True:
        try:
            return await step()
        except StoreAway as error:
            if waited % 10 == 0:
                log.warning("waiting_for_store", error=str(error))
            waited += 1
        await asyncio.sleep(_STORE_RETRY_S)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> None:
    """Run one agent; exit code 1 with a sentence when it may not or cannot live."""
    try:
        config = settings.load("keeper")
        logs.configure(config.log_level, agent=config.cluster_agent_id)
        if config.cluster_heartbeat_interval > BEAT_S:
            log.warning("heartbeat_interval_ignored", asked=config.cluster_heartbeat_interval, used=BEAT_S)
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(Keeper(config).run())
    except (SettingsError, DuplicateAgent) as error:
        log.error("refused_to_start", error=str(error))
        sys.exit(1)
    except BaseExceptionGroup as group:
        log.error("keeper_died", error=repr(group.exceptions))
        sys.exit(1)
