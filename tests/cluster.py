"""A real cluster for tests: stores, a gateway and agents as processes, with verbs for what befalls them."""

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
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from appliance.core.errors import NexusError
from appliance.core.postgres import Postgres, migrate, wait_until_answering
from appliance.core.records import Agent, ClusterView, User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings, load
from appliance.embedded import postgres, redis
from appliance.embedded.places import Home, nginx_binary
from appliance.embedded.programs import Program, free_port, start, stop, wait_ready
from appliance.embedded.secrets import generate_missing, read_secret
from tests.fakes.models import FakeProvider

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30.0
"""Deadlines are generous here; strict figures belong to the benchmarks."""


async def wait_until(condition: Callable[[], Awaitable[Any]], *, within_s: float = PATIENCE_S, of: str) -> Any:
    """Return the first true answer of `condition`; fail with `of` and the last answer when none comes in time."""
    deadline = time.monotonic() + within_s
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = await condition()
            if last:
                return last
        except (NexusError, httpx2.HTTPError) as error:
            last = error
        await asyncio.sleep(0.02)
    raise AssertionError(f"{of} did not happen within {within_s} s; last seen: {last!r}")


class Stores:
    """PostgreSQL and Redis of their own, in a temporary home."""

    def __init__(self) -> None:
        self.home = Home.at(Path(tempfile.mkdtemp(prefix="nexus-test-"))).create()
        self.programs: dict[str, Program] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self) -> None:
        """Start both and apply the migrations."""
        generate_missing(self.home.secrets)
        postgres_port, redis_port = free_port(), free_port()
        await asyncio.to_thread(postgres.initialise, self.home)
        redis.configure(self.home, redis_port)
        self.programs = {
            "postgres": postgres.postgres(self.home, postgres_port),
            "redis": redis.redis(self.home, redis_port),
        }
        self.urls = {
            "postgres_url": postgres.postgres_url(postgres_port),
            "redis_url": redis.redis_url(redis_port),
        }
        for name in self.programs:
            await self.start_one(name)
        await wait_until_answering(self.settings(), within_s=PATIENCE_S)
        await migrate(self.settings(), "pre")

    async def start_one(self, name: str) -> None:
        """Start one store, again after `kill`."""
        process = start(self.programs[name], self.home.logs / f"{name}.log")
        self.processes[name] = process
        await asyncio.to_thread(wait_ready, self.programs[name], PATIENCE_S, process)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one store."""
        self.processes[name].send_signal(number)
        if number is signal.SIGKILL:
            self.processes[name].wait()

    def settings(self, **more: Any) -> Settings:
        """Return settings that reach these stores."""
        return load(
            **self.urls,
            redis_password=read_secret(self.home.secrets, "redis_password"),
            postgres_password=read_secret(self.home.secrets, "postgres_password"),
            cluster_secret=read_secret(self.home.secrets, "cluster_secret"),
            **more,
        )

    def environment(self) -> dict[str, str]:
        """Return what a program needs to reach these stores; secrets stay in files."""
        return {name.upper(): url for name, url in self.urls.items()} | {"NEXUS_SECRETS_DIR": str(self.home.secrets)}

    def close(self) -> None:
        """Stop both and remove everything."""
        for name, process in self.processes.items():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            stop(self.programs[name], process)
        shutil.rmtree(self.home.root, ignore_errors=True)


class Cluster:
    """Agents behind a gateway. `url` is what a browser opens."""

    def __init__(self, stores: Stores, provider: FakeProvider, **environment: str) -> None:
        self.stores = stores
        self.provider = provider
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.prefix = f"t{secrets.token_hex(3)}:"
        self._environment = environment
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._gateway: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="nexus-cluster-"))
        self.settings = stores.settings(redis_key_prefix=self.prefix, public_url=self.url)
        self.redis = Redis(self.settings)
        self.postgres = Postgres(self.settings, application="test")
        self.registry = Registry(self.redis)

    async def start(self, agents: int = 3, *, gateway: bool = True) -> None:
        """Start the agents and the gateway and wait until all serve."""
        await self.postgres.open()
        for number in range(1, agents + 1):
            self.start_agent(f"agent-{number}")
        await self.until_active(agents)
        if gateway:
            await self.start_gateway(agents)

    async def start_gateway(self, agents: int) -> None:
        """Start the gateway and wait until it knows all agents."""
        folder = Home.at(self._folder).create().nginx
        self._gateway = subprocess.Popen(
            [
                *[sys.executable, "-m", "appliance.gateway", "--folder", str(folder)],
                *["--listen", f"127.0.0.1:{self.port}", "--nginx", str(nginx_binary())],
            ],
            cwd=ROOT, env=self._env("gateway"), process_group=0,
            stdout=(self._folder / "gateway.log").open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        members = folder / "agents.conf"

        async def all_listed() -> bool:
            return members.exists() and members.read_text().count("server ") >= agents

        await wait_until(all_listed, of="the gateway's list of agents")
        await wait_until(self._answers, of="an answer through the gateway")

    async def _answers(self) -> bool:
        async with httpx2.AsyncClient() as client:
            return (await client.get(f"{self.url}/login")).status_code == 200

    def start_agent(self, agent_id: str, **environment: str) -> None:
        """Start one agent, again after `kill`."""
        self._agents[agent_id] = subprocess.Popen(
            [sys.executable, "-m", "agent_image"], cwd=ROOT, process_group=0,
            env=self._env(agent_id) | environment,
            stdout=(self._folder / f"{agent_id}.log").open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _env(self, agent_id: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CLUSTER_AGENT_ID": agent_id,
            "REDIS_KEY_PREFIX": self.prefix, "PUBLIC_URL": self.url, "MODEL_URL": f"{self.provider.url}/v1",
            "MODEL_NAME": self.provider.model, **self.stores.environment(), **self._environment,
        }  # fmt: skip

    async def view(self) -> ClusterView:
        """Read the registry."""
        return await self.registry.view()

    async def agent(self, agent_id: str) -> Agent:
        """Return one agent's record."""
        found = (await self.view()).agent(agent_id)
        assert found is not None, f"{agent_id} is not in the registry"
        return found

    async def until_active(self, agents: int) -> None:
        """Wait until that many agents serve."""

        async def active() -> bool:
            return sum(a.status == "active" and a.boot_alive for a in (await self.view()).agents) >= agents

        await wait_until(active, of=f"{agents} active agents")

    async def kill(self, agent_id: str, number: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL keeper and runner of an agent at once."""
        agent = await self.agent(agent_id)
        for pid in (agent.keeper_pid, agent.runner_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGKILL:
            await asyncio.to_thread(self._agents[agent_id].wait)

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

    def log_of(self, name: str) -> str:
        """Return what a process logged."""
        return (self._folder / f"{name}.log").read_text()

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
        for process in [*self._agents.values(), *([self._gateway] if self._gateway else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                process.terminate()
        for process in [*self._agents.values(), *([self._gateway] if self._gateway else [])]:
            try:
                await asyncio.to_thread(process.wait, PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        await self.postgres.aclose()
        await self.redis.aclose()
        if not os.environ.get("NEXUS_TEST_KEEP_LOGS"):
            shutil.rmtree(self._folder, ignore_errors=True)


class Client:
    """A person at the JSON API."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=httpx2.Timeout(60, connect=5)
        )

    async def create(self) -> str:
        """Begin a conversation and return its id."""
        answer = await self.http.post("/api/v1/conversations", json={})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def send(self, conversation: str, text: str, **more: Any) -> dict[str, Any]:
        """Send a message and return what was accepted."""
        answer = await self.http.post(f"/api/v1/conversations/{conversation}/messages", json={"text": text, **more})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def transcript(self, conversation: str) -> dict[str, Any]:
        """Return a conversation as committed."""
        answer = await self.http.get(f"/api/v1/conversations/{conversation}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def events(self, conversation: str, cursor: str = "", *, attempt: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Follow a conversation over one connection; pings come as {"type": "ping"}."""
        params = {"cursor": cursor, "try": str(attempt)}
        async with self.http.stream("GET", f"/api/v1/conversations/{conversation}/events", params=params) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for event in sse(answer):
                yield event

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()


async def sse(answer: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a server-sent-events response."""
    kind = ""
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield {"type": kind, **msgspec.json.decode(value)}


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
