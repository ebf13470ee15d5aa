"""Runners without keepers: the test holds their shared pages, so it says who leads, who drains and until when."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from agent_image.shared_page import SharedPage
from appliance.core.clock import monotonic
from appliance.core.election import Election
from appliance.core.errors import StoreAway
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Role
from appliance.core.redis import new_generation
from appliance.core.task_ledger import TaskLedger
from tests.cluster import ROOT, Cluster
from tests.fakes.models import FakeProvider
from tests.ports import free_port
from tests.stores import Stores
from tests.waiting import wait_until

BEAT_S = 0.2
FOREVER_S = 3600.0


class Runners(Cluster):
    """A cluster whose keepers are played by the test: they register, beat, renew, and bury what has ended."""

    def __init__(self, stores: Stores, provider: FakeProvider, postgres_url: str, **environment: str) -> None:
        super().__init__(stores, provider, POSTGRES_URL=postgres_url, **environment)
        # Other clusters of the session have an epoch of their own in the common database.
        self.settings = self.settings.model_copy(update={"postgres_url": postgres_url})
        self.postgres = Postgres(self.settings, application="test")
        self.pages: dict[str, SharedPage] = {}
        self.left_over: dict[str, int] = {}
        """Agent → rows that its runner still owned when it had ended."""
        self.ledger = TaskLedger(self.postgres, turn_timeout_s=60, max_queued=10_000)
        self.election = Election(self.redis, self.postgres)
        self._keepers: dict[str, asyncio.Task[None]] = {}

    def start_agent(self, agent_id: str, **environment: str) -> None:
        """Start one runner, again after its end, on a page of its own."""
        page, boot, port = SharedPage.create(), str(uuid4()), free_port()
        page.epoch = max((other.epoch for other in self.pages.values()), default=0)
        self.pages[agent_id] = page
        self._agents[agent_id] = subprocess.Popen(
            [sys.executable, "-m", "agent_image.runner", boot, str(page.descriptor), str(port)],
            cwd=ROOT, process_group=0, pass_fds=[page.descriptor],
            env=self.environment_of(agent_id) | environment,
            stdout=self._log(agent_id), stderr=subprocess.STDOUT,
        )  # fmt: skip
        keeper = self._play_keeper(agent_id, boot, port, self._agents[agent_id])
        self._keepers[agent_id] = asyncio.create_task(keeper, name=f"keeper of {agent_id}")

    async def _play_keeper(self, agent_id: str, boot: str, port: int, process: subprocess.Popen[bytes]) -> None:
        page = self.pages[agent_id]
        await self.ledger.register_boot(boot, agent_id)
        while process.poll() is None:
            with contextlib.suppress(StoreAway):  # slower than a control call may be, on a busy machine
                beat = await self.registry.beat(self._record(agent_id, boot, port, process.pid))
                if beat.generation is None:
                    await self.registry.initialise(new_generation(), (await self.election.current()).number)
                elif page.role is Role.PRIMARY:
                    await self.election.renew(agent_id, boot, page.epoch)
            await asyncio.sleep(BEAT_S)
        await self.ledger.bury(boot, "its runner ended")
        self.left_over[agent_id] = await self.ledger.release(boot, turns_only=False)
        await self.registry.leave(agent_id, boot, on_purpose=False)

    def _record(self, agent_id: str, boot: str, port: int, pid: int) -> Agent:
        page = self.pages[agent_id]
        return Agent(
            id=agent_id, role=page.role, status=page.status, boot=boot, host="127.0.0.1", port=port, keeper_pid=pid,
            runner_pid=pid, current_load=page.load, config_epoch=page.epoch,
        )  # fmt: skip

    async def promote(self, agent_id: str) -> int:
        """Make an agent primary, and return the epoch; nobody steps down by himself."""
        boot = (await self.agent(agent_id)).boot
        voted = (await self.election.current()).number
        epoch = await self.election.elect(agent_id, boot, voted=voted, evidence={"kind": "first"})
        assert epoch is not None
        await self.election.install(agent_id, boot, epoch)
        for page in self.pages.values():
            page.epoch = epoch
        page = self.pages[agent_id]
        page.lease_deadline = monotonic() + FOREVER_S
        page.role = Role.PRIMARY
        return epoch

    def drain(self, agent_id: str, within_s: float) -> None:
        """Do what a keeper does that is to end: let turns go on until then."""
        self.pages[agent_id].drain_deadline = monotonic() + within_s

    async def until_drained(self, agent_id: str) -> None:
        """Wait until the runner says that nothing runs there any more."""

        async def drained() -> bool:
            return self.pages[agent_id].drained == 1

        await wait_until(drained, of=f"the end of {agent_id}'s work")

    async def terminate(self, agent_id: str) -> int:
        """SIGTERM a runner; return its exit code once its boot is buried."""
        code = await super().terminate(agent_id)
        await self._keepers[agent_id]
        return code

    async def restart(self, agent_id: str, **environment: str) -> None:
        """Start an agent that has ended, and wait until nginx, too, has been told of it."""
        await self._keepers[agent_id]  # its last boot is buried
        self.start_agent(agent_id, **environment)

        async def back() -> bool:
            agent = (await self.view()).agent(agent_id)
            return agent is not None and agent.status == "active" and f':{agent.port}"' in self.log_of("gateway")

        await wait_until(back, of=f"{agent_id} behind the gateway")

    async def direct(self, agent_id: str) -> str:
        """Return the address of one agent, past the gateway."""
        return f"http://127.0.0.1:{(await self.agent(agent_id)).port}"

    async def close(self) -> None:
        """End everything this cluster started."""
        for process in self._agents.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*self._keepers.values())
        await super().close()


@asynccontextmanager
async def running_runners(stores: Stores, provider: FakeProvider, agents: int, **more: str) -> AsyncIterator[Runners]:
    """Run that many runners behind a gateway, in a database of their own."""
    own = await stores.with_own_database()
    runners = Runners(stores, provider, own.postgres_url, **more)
    try:
        await runners.start(agents)
        yield runners
    finally:
        await runners.close()
