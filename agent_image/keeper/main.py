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

from agent_image.keeper.beacon import Beacon
from agent_image.keeper.child import Child
from agent_image.keeper.liveness import Hello, Liveness
from agent_image.keeper.watch import Watch
from agent_image.shared_page import SharedPage
from appliance.core import logs, settings
from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.errors import DuplicateAgent, SettingsError, StoreAway
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
_OWN_LIFE_S = 1.0
HAND_BACK_S = 3.0
"""Seconds the end of a keeper waits for the stores, after its runner has ended."""
STALL_S = {True: 3.0, False: 10.0}
"""Seconds without a turn of the runner's loop after which it is killed: for a primary, for others."""


class Keeper:
    """One agent's keeper: wires the loops together and knows the order of their beginning and end."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._started_at = time.time()
        self._port = config.agent_port or _free_port(config.agent_host)
        self._page = SharedPage.create()
        self._child = Child(self._page, self._port)
        self._redis = Redis(config)
        self._postgres = Postgres(config, application=f"keeper {config.cluster_agent_id}")
        self._ledger = TaskLedger(self._postgres, turn_timeout_s=config.model_turn_timeout, max_queued=1)
        self._registry = Registry(self._redis)
        self._liveness = Liveness(config, self._hello)
        self._beacon = Beacon(
            self._registry,
            Election(self._redis, self._postgres),
            self._page,
            self._describe,
            electable=config.cluster_role in ("auto", "primary"),
        )
        self._watch = Watch(
            config.cluster_agent_id, self._registry, self._ledger, self._liveness, lambda: bool(self._beacon.tilt)
        )

    async def run(self) -> None:
        """Live until SIGTERM or SIGINT.

        Raises:
            SettingsError: a store does not serve. DuplicateAgent: this id is in use.
        """
        await self._postgres.open()
        log.info("stores_checked", redis=await _patiently(self._redis.check), library=await self._load_library())
        await _patiently(self._refuse_duplicate)
        await self._liveness.start()
        # Until here there is nothing to hand back, so a signal simply ends a keeper that waits for its stores.
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        try:
            async with asyncio.TaskGroup() as loops:
                living = [
                    loops.create_task(self._child.run(self._register, self._ended), name="runner"),
                    loops.create_task(self._beacon.run(), name="beacon"),
                    loops.create_task(self._watch.run(), name="watch"),
                    loops.create_task(self._check_own_life(), name="own life"),
                ]
                await stopped.wait()
                await self._stop(living)
        finally:
            await self._postgres.aclose()
            await self._redis.aclose()

    async def _stop(self, living: list[asyncio.Task[None]]) -> None:
        runner, *others = living
        await self._child.stop()
        # Hands the boot's work back; with the stores away the others will do it once they find the boot silent.
        await asyncio.wait({runner}, timeout=HAND_BACK_S)
        for task in (runner, *others):
            task.cancel()
        await self._liveness.close()
        log.info("keeper_stopped")

    async def _load_library(self) -> str:
        await _patiently(self._redis.load_library)
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

    async def _ended(self, boot: str, reason: str) -> None:
        """Report the death of our own runner: its work goes back at once, then its lease and liveness."""
        await _patiently(lambda: self._hand_back(boot, reason))
        await self._beacon.leave(boot, forget=False)

    async def _hand_back(self, boot: str, reason: str) -> None:
        await self._ledger.bury(boot, reason)
        released = await self._ledger.release(boot, turns_only=False)
        log.info("boot_ended", boot=boot, reason=reason, released=released)

    async def _check_own_life(self) -> None:
        """Look whether the others have buried this boot, at once after having been stopped; then begin a new one."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OWN_LIFE_S):
                    await self._beacon.woke_late.wait()
            self._beacon.woke_late.clear()
            await self._kill_if_stalled()
            if self._child.pid and await _patiently(lambda: self._ledger.is_dead(self._child.boot)):
                log.warning("boot_was_buried", boot=self._child.boot)
                await self._child.replace()

    async def _kill_if_stalled(self) -> None:
        """Kill a runner whose event loop no longer turns, *then* hand its work back (PROTOCOLS 6.1)."""
        page = self._page
        patience = STALL_S[page.role is Role.PRIMARY]
        if page.status is Status.ACTIVE and monotonic() - page.loop_tick > patience and not self._beacon.tilt:
            log.error("runner_stalled", seconds=round(monotonic() - page.loop_tick, 1))
            await self._child.replace()

    def _hello(self) -> Hello:
        return Hello(
            agent=self._config.cluster_agent_id, boot=self._child.boot, epoch=self._page.epoch, role=self._page.role
        )

    def _describe(self) -> Agent:
        config, page = self._config, self._page
        return Agent(
            id=config.cluster_agent_id, role=page.role, status=page.status, boot=self._child.boot,
            host=config.agent_host, port=self._port, liveness_port=self._liveness.port, keeper_pid=os.getpid(),
            runner_pid=self._child.pid, models=config.model_names(), current_load=page.load,
            max_load=config.cluster_max_load, queued=page.queued, config_epoch=page.epoch,
            started_at=self._started_at, loop_lag_ms=round(page.loop_lag_ms, 1), version=VERSION,
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
        config = settings.load()
        logs.configure(config.log_level, agent=config.cluster_agent_id)
        if config.cluster_heartbeat_interval > BEAT_S:
            log.warning("heartbeat_interval_ignored", asked=config.cluster_heartbeat_interval, used=BEAT_S)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(Keeper(config).run())
    except (SettingsError, DuplicateAgent) as error:
        log.error("refused_to_start", error=str(error))
        sys.exit(1)
    except BaseExceptionGroup as group:
        log.error("keeper_died", error=repr(group.exceptions))
        sys.exit(1)
