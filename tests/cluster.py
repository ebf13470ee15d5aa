"""A real cluster for tests: a gateway and agents as processes, with verbs for what befalls them."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import httpx2
import psycopg

from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import Agent, ClusterView, User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.embedded.places import Home, nginx_binary
from tests.fakes.models import FakeProvider
from tests.ports import free_port
from tests.stores import Stores
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]
LAST_LINES = 25


class Cluster:
    """Agents behind a gateway. `url` is what a browser opens."""

    running: ClassVar[set["Cluster"]] = set()

    def __init__(self, stores: Stores, provider: FakeProvider, **environment: str) -> None:
        self.stores = stores
        self.provider = provider
        self.port = free_port()
        self.control_port = free_port()
        self.gateway_metrics_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.prefix = f"t{secrets.token_hex(3)}:"
        self.broker_socket = ""
        self._environment = environment
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._gateway: subprocess.Popen[bytes] | None = None
        self._control: subprocess.Popen[bytes] | None = None
        self._logs = contextlib.ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="nexus-cluster-"))
        self.settings = stores.settings(redis_key_prefix=self.prefix, public_url=self.url)
        self.redis = Redis(self.settings)
        self.postgres = Postgres(self.settings, application="test")
        self.registry = Registry(self.redis)
        self.running.add(self)

    async def start(self, agents: int = 3, *, gateway: bool = True) -> None:
        """Start the agents and the gateway and wait until all serve."""
        await self.postgres.open()
        for number in range(1, agents + 1):
            self.start_agent(f"agent-{number}")
        await self.until_active(agents, within_s=2 * PATIENCE_S)  # as many Pythons start at once
        if gateway:
            await self.start_gateway(agents)

    async def start_gateway(self, agents: int) -> None:
        """Start the gateway and wait until it knows all agents."""
        folder = Home.at(self._folder).create().nginx
        self._gateway = subprocess.Popen(
            [
                *[sys.executable, "-m", "appliance.gateway", "--folder", str(folder)],
                *["--listen", f"127.0.0.1:{self.port}", "--nginx", str(nginx_binary())],
                *["--metrics", f"127.0.0.1:{self.gateway_metrics_port}"],
            ],
            cwd=ROOT, env=self.environment_of("gateway"), process_group=0,
            stdout=self._log("gateway"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        members = folder / "agents.conf"

        async def all_listed() -> bool:
            return members.exists() and members.read_text().count("server ") >= agents

        await wait_until(all_listed, of="the gateway's list of agents")
        await wait_until(self._answers, of="an answer through the gateway")

    async def _answers(self) -> bool:
        async with httpx2.AsyncClient() as client:
            return (await client.get(f"{self.url}/login")).status_code == 200

    async def start_control_plane(self) -> None:
        """Start the control plane behind the gateway and wait until it serves."""
        self._control = subprocess.Popen(
            [sys.executable, "-m", "control_plane"], cwd=ROOT, env=self.environment_of("control"), process_group=0,
            stdout=self._log("control"), stderr=subprocess.STDOUT,
        )  # fmt: skip

        async def ready() -> bool:
            async with httpx2.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{self.control_port}/readyz")).status_code == 200

        await wait_until(ready, of="the control plane")

    def _others(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in (self._gateway, self._control) if process]

    command = (sys.executable, "-m", "agent_image")

    def start_agent(self, agent_id: str, **environment: str) -> None:
        """Start one agent, again after `kill`."""
        self._agents[agent_id] = subprocess.Popen(
            self.command, cwd=ROOT, process_group=0,
            env=self.environment_of(agent_id) | environment,
            stdout=self._log(agent_id), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _log(self, name: str) -> BinaryIO:
        """Open a process's log; closed with the cluster."""
        return self._logs.enter_context((self._folder / f"{name}.log").open("ab"))

    def environment_of(self, agent_id: str) -> dict[str, str]:
        """Return what a program of this cluster is started with."""
        return {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CLUSTER_AGENT_ID": agent_id,
            "REDIS_KEY_PREFIX": self.prefix, "PUBLIC_URL": self.url, "MODEL_URL": f"{self.provider.url}/v1",
            "MODEL_NAME": self.provider.model,
            "CONTROL_PLANE_PORT": str(self.control_port), "BROKER_SOCKET": self.broker_socket,
            **self.stores.environment(), **self._environment,
        }  # fmt: skip

    async def view(self) -> ClusterView:
        """Read the registry."""
        return await self.registry.view()

    async def agent(self, agent_id: str) -> Agent:
        """Return one agent's record."""
        found = (await self.view()).agent(agent_id)
        assert found is not None, f"{agent_id} is not in the registry"
        return found

    async def until_active(self, agents: int, within_s: float = PATIENCE_S) -> None:
        """Wait until that many agents serve."""

        async def active() -> bool:
            return sum(a.status == "active" and a.boot_alive for a in (await self.view()).agents) >= agents

        await wait_until(active, within_s=within_s, of=f"{agents} active agents")

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Open a connection of one's own, for what no statement of the product does."""
        options = connection_options(self.settings, "test")
        async with await psycopg.AsyncConnection.connect(self.settings.postgres_url, **options) as connection:
            yield connection

    async def kill(self, agent_id: str, number: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL keeper and runner of an agent at once."""
        agent = await self.agent(agent_id)
        for pid in (agent.keeper_pid, agent.runner_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGKILL:
            await asyncio.to_thread(self._agents[agent_id].wait)

    async def kill_keeper(self, agent_id: str) -> Agent:
        """SIGKILL the keeper alone; return the agent as it was."""
        agent = await self.agent(agent_id)
        self._agents[agent_id].kill()
        await asyncio.to_thread(self._agents[agent_id].wait)
        return agent

    async def freeze(self, agent_id: str) -> None:
        """SIGSTOP keeper and runner."""
        await self.kill(agent_id, signal.SIGSTOP)

    async def thaw(self, agent_id: str) -> None:
        """SIGCONT keeper and runner."""
        await self.kill(agent_id, signal.SIGCONT)

    async def terminate(self, agent_id: str) -> int:
        """SIGTERM an agent and return its exit code."""
        process = self._agents[agent_id]
        process.terminate()
        return await asyncio.to_thread(process.wait, PATIENCE_S)

    def keepers(self) -> dict[str, int]:
        """Return agent → process id of all agents that have not ended; a frozen one has not."""
        return {name: process.pid for name, process in self._agents.items() if process.poll() is None}

    def programs(self) -> dict[str, int]:
        """Return name → process id of everything this cluster started and that has not ended."""
        others = {"gateway": self._gateway, "control plane": self._control}
        return self.keepers() | {name: it.pid for name, it in others.items() if it is not None and it.poll() is None}

    async def end(self, agent_id: str) -> None:
        """SIGKILL everything of an agent, whatever state it is in; it may have ended already."""
        process = self._agents[agent_id]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)

    def revive(self) -> None:
        """Let frozen agents go on and start those again that have ended."""
        for agent_id, process in list(self._agents.items()):
            if process.poll() is not None:
                self.start_agent(agent_id)
            else:
                os.killpg(process.pid, signal.SIGCONT)

    def listed(self) -> str:
        """Return the gateway's list of agents."""
        return (Home.at(self._folder).nginx / "agents.conf").read_text()

    def logs(self) -> dict[str, Path]:
        """Return name → file of everything that logs."""
        return {path.stem: path for path in sorted(self._folder.glob("*.log"))}

    async def dismiss(self, agent_id: str) -> None:
        """End an agent that only one test wanted, and leave no trace of it for the next."""
        await self.terminate(agent_id)
        await self.redis.data.srem(self.redis.keys.agents, agent_id)
        await self.redis.data.delete(self.redis.keys.agent(agent_id))

    def log_of(self, name: str) -> str:
        """Return what a process logged."""
        return (self._folder / f"{name}.log").read_text()

    def last_words(self) -> list[tuple[str, str]]:
        """Return what each program logged last, with a heading."""
        logs = sorted(self._folder.glob("*.log"))
        return [
            (f"last of {it.stem}", "\n".join(it.read_text(errors="replace").splitlines()[-LAST_LINES:])) for it in logs
        ]

    async def sign_in(self, name: str = "ada", role: str = "operator") -> tuple[User, str]:
        """Make a person and a login, and return its bearer token."""
        row = await self.postgres.row("ensure_user", tenant="default", name=name, role=role)
        assert row is not None
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(token.encode()).digest()
        await self.postgres.rows("create_login", digest=digest, user=row["id"], life_s=3600)
        return User(id=str(row["id"]), name=name, role=role), token

    async def close(self) -> None:
        """End everything this cluster started."""
        self.running.discard(self)
        for process in [*self._agents.values(), *self._others()]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                process.terminate()
        for process in [*self._agents.values(), *self._others()]:
            try:
                await asyncio.to_thread(process.wait, PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._logs.close()
        await self.postgres.aclose()
        await self.redis.aclose()
        if not os.environ.get("NEXUS_TEST_KEEP_LOGS"):
            shutil.rmtree(self._folder, ignore_errors=True)


@asynccontextmanager
async def running_cluster(agents: int = 3, **environment: str) -> AsyncIterator[Cluster]:
    """Run a cluster with stores and a provider of its own."""
    stores = Stores()
    try:
        await stores.start()
        async with FakeProvider() as provider:
            cluster = Cluster(stores, provider, **environment)
            try:
                await cluster.start(agents)
                yield cluster
            finally:
                await cluster.close()
    finally:
        await asyncio.to_thread(stores.close)
