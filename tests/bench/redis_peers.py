"""What others do with Redis: a master watched by three Sentinels, and a plain lock that lives for a while."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from appliance.embedded.places import redis_server
from appliance.embedded.programs import Program, accepts, free_port, start, stop, wait_ready
from tests.bench import ttl_lock
from tests.bench.peers import Holder, hurt
from tests.cluster import ROOT
from tests.waiting import PATIENCE_S, wait_until

DOWN_AFTER_MS = 1000
FAILOVER_TIMEOUT_MS = 3000
"""A failed attempt is tried again after twice this; its default of 180 s would be unfair on one machine."""


class Processes:
    """Processes in a temporary folder of their own, all ended on leaving, whatever state they are in."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nexus-peer-"))
        self._running: dict[int, tuple[Program, Any]] = {}

    async def start(self, name: str, *argv: str, port: int, **env: str) -> int:
        """Start a program, wait until `port` accepts, and return its pid."""
        env |= {"PYTHONPATH": str(ROOT)}
        program = Program(name=name, argv=argv, cwd=self.folder, check=accepts(port), env=env)
        process = start(program, self.folder / f"{name}.log")
        self._running[process.pid] = program, process
        await asyncio.to_thread(wait_ready, program, PATIENCE_S, process)
        return process.pid

    async def redis(self, name: str, port: int, *options: str) -> int:
        """Start a Redis on loopback without persistence."""
        (self.folder / name).mkdir(exist_ok=True)
        fixed = ["--port", str(port), "--bind", "127.0.0.1", "--dir", name, "--save", "", "--appendonly", "no"]
        return await self.start(name, str(redis_server()), *fixed, *options, port=port)

    def close(self) -> None:
        """End everything and remove the folder."""
        for program, process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            stop(program, process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Sentinel:
    """A Redis master with two replicas, watched by three Sentinels."""

    def __init__(self, processes: Processes, stack: AsyncExitStack) -> None:
        self._processes = processes
        self._stack = stack
        self._ports = [free_port() for _ in range(3)]
        self._pids: dict[int, int] = {}
        self._clients: dict[int, Any] = {}
        self._sentinels: list[Any] = []

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["Sentinel"]:
        """Start it and stop it again."""
        async with AsyncExitStack() as stack:
            processes = Processes()
            stack.push_async_callback(asyncio.to_thread, processes.close)
            peer = cls(processes, stack)
            for port in peer._ports:
                await peer._start(port)
                peer._clients[port] = await stack.enter_async_context(client_of(port))
            for number in range(3):
                peer._sentinels.append(await peer._start_sentinel(f"sentinel-{number}"))
            await wait_until(peer._whole, of="three Sentinels that agree")
            yield peer

    async def _start(self, port: int, master: int | None = None) -> None:
        master = master or self._ports[0]
        follow = () if port == master else ("--replicaof", f"127.0.0.1 {master}")
        options = ("--repl-diskless-sync-delay", "0", *follow)
        self._pids[port] = await self._processes.redis(f"redis-{port}", port, *options)

    async def _start_sentinel(self, name: str) -> Any:
        port, conf = free_port(), self._processes.folder / f"{name}.conf"
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"sentinel monitor it 127.0.0.1 {self._ports[0]} 2",
            f"sentinel down-after-milliseconds it {DOWN_AFTER_MS}",
            f"sentinel failover-timeout it {FAILOVER_TIMEOUT_MS}",
            "sentinel parallel-syncs it 1",
        ]
        conf.write_text("\n".join(lines) + "\n")
        await self._processes.start(name, str(redis_server()), str(conf), "--sentinel", port=port)
        return await self._stack.enter_async_context(client_of(port))

    async def _masters(self) -> set[int]:
        """Return the ports that the Sentinels name."""
        named = [await sentinel.sentinel_get_master_addr_by_name("it") for sentinel in self._sentinels]
        return {port for _, port in named}

    async def holder(self) -> Holder:
        (port,) = await self._masters()
        return Holder(str(port), (self._pids[port],))

    async def replaced(self, lost: Holder) -> bool:
        return int(lost.name) not in await self._masters()

    async def writes(self) -> bool:
        masters = await self._masters()
        with suppress(RedisError):
            return len(masters) == 1 and bool(await self._clients[masters.pop()].set("written", "yes"))
        return False

    async def mend(self, lost: Holder, fault: signal.Signals) -> None:
        if fault is signal.SIGKILL:
            (master,) = await self._masters()
            await self._start(int(lost.name), master)
        else:
            hurt(lost, signal.SIGCONT)
        await wait_until(self._whole, within_s=2 * PATIENCE_S, of="three Sentinels that agree on a whole cluster")

    async def _whole(self) -> bool:
        """Whether every Sentinel sees the same master, two good replicas and the two others."""
        if len(await self._masters()) != 1:
            return False
        return all([await self._sees_all(sentinel) for sentinel in self._sentinels])

    async def _sees_all(self, sentinel: Any) -> bool:
        master = await sentinel.sentinel_master("it")
        replicas = await sentinel.sentinel_slaves("it")
        return (
            (master["flags"], master["num-other-sentinels"], len(replicas)) == ("master", 2, 2)
            and all(replica["flags"] == "slave" for replica in replicas)
            and all(replica["master-link-status"] == "ok" for replica in replicas)
        )


class TtlLock:
    """Three processes that share `SET lock me NX PX 5000`; the holder acts at once, since nothing fences it."""

    def __init__(self, processes: Processes, store: Any, port: int) -> None:
        self._processes = processes
        self._store = store
        self._port = port

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["TtlLock"]:
        """Start it and stop it again."""
        async with AsyncExitStack() as stack:
            processes, port = Processes(), free_port()
            stack.push_async_callback(asyncio.to_thread, processes.close)
            await processes.redis("redis", port)
            peer = cls(processes, await stack.enter_async_context(client_of(port)), port)
            for _ in range(3):
                await peer._start()
            await wait_until(peer._whole, of="three processes and a holder")
            yield peer

    async def _start(self) -> None:
        command = [sys.executable, "-m", "tests.bench.ttl_lock", str(self._port)]
        await self._processes.start("holder", *command, port=self._port)

    async def holder(self) -> Holder:
        pid = int(await self._store.get(ttl_lock.LOCK))
        return Holder(str(pid), (pid,))

    async def replaced(self, lost: Holder) -> bool:
        return await self._store.get(ttl_lock.LOCK) not in (None, lost.name)

    async def writes(self) -> bool:
        return True

    async def mend(self, lost: Holder, fault: signal.Signals) -> None:
        if fault is signal.SIGKILL:
            await self._start()
        else:
            hurt(lost, signal.SIGCONT)
        await wait_until(self._whole, of="three processes and a holder")

    async def _whole(self) -> bool:
        named = {client["name"] for client in await self._store.client_list()}
        return sum(name.isdigit() for name in named) == 3 and bool(await self._store.exists(ttl_lock.LOCK))


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Any]:
    """Speak to a Redis or Sentinel on loopback; it has one second to answer. Its types name every reply there is."""
    client = aioredis.Redis(port=port, socket_timeout=1, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()
