"""A test's cluster whose agents the control plane steers: its processes behind a real broker."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.core.desired_fleet import DesiredFleet, agent_id
from appliance.core.errors import NotFound
from control_plane.broker.main import listening, server_of
from control_plane.fleet import Member, MemberState, Stats
from tests.cluster import Cluster

LOOK_S = 0.05


class ClusterFleet:
    """Starts and stops the agents of a `Cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.crashing: dict[int, str] = {}
        """Slots that are told to crash, with the reason."""

    async def members(self) -> tuple[Member, ...]:
        slots = sorted(int(name.rpartition("-")[2]) for name in self._cluster._agents)
        return tuple(self._member(slot) for slot in slots)

    def _member(self, slot: int) -> Member:
        if slot in self.crashing:
            return Member(agent_id(slot), slot, MemberState.CRASHING, detail=self.crashing[slot], restarts=4)
        alive = agent_id(slot) in self._cluster.keepers()
        return Member(agent_id(slot), slot, MemberState.RUNNING if alive else MemberState.STOPPED, started_at=1.0)

    async def start(self, slot: int) -> None:
        self._cluster.start_agent(agent_id(slot))

    async def stop(self, slot: int) -> None:
        await self._cluster.terminate(self._known(slot))

    async def remove(self, slot: int) -> None:
        await self._cluster.dismiss(self._known(slot))
        del self._cluster._agents[agent_id(slot)]

    async def restart(self, slot: int) -> None:
        await self.stop(slot)
        await self.start(slot)

    async def kill(self, slot: int) -> None:
        await self._cluster.end(self._known(slot))

    async def freeze(self, slot: int, seconds: float) -> None:
        await self._cluster.freeze(self._known(slot))
        asyncio.get_running_loop().call_later(seconds, self._thaw, slot)

    def _thaw(self, slot: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._cluster._agents[agent_id(slot)].pid, signal.SIGCONT)

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        path = self._cluster.logs()[self._known(slot)]
        known = path.read_text().splitlines()
        for line in known[-lines:]:
            yield line
        at = len(known)
        while follow:
            await asyncio.sleep(LOOK_S)
            known = path.read_text().splitlines()
            for line in known[at:]:
                yield line
            at = len(known)

    async def stats(self) -> tuple[Stats, ...]:
        return tuple(
            Stats(agent, cpu_cores=0.05, memory_bytes=_resident(pid)) for agent, pid in self._cluster.keepers().items()
        )

    def _known(self, slot: int) -> str:
        if agent_id(slot) not in self._cluster._agents:
            raise NotFound(f"There is no {agent_id(slot)}.")
        return agent_id(slot)


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@asynccontextmanager
async def steered(cluster: Cluster, agents: int, fleet: ClusterFleet | None = None) -> AsyncIterator[ClusterFleet]:
    """Let a cluster that runs `agents` be steered: a broker, the row of what is wished, then its control plane."""
    fleet, path = fleet or ClusterFleet(cluster), cluster._folder / "broker.sock"
    cluster.broker_socket = str(path)
    server = server_of(fleet)
    with listening(path) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="broker")
        try:
            await DesiredFleet(cluster.postgres).up(agents, by="test")
            await cluster.start_control_plane()
            yield fleet
        finally:
            server.should_exit = server.force_exit = True
            await serving
