"""A cluster with a proxy on every wire: from each agent to Redis and to every other agent's liveness port.

So one wire can be cut and all others left alone, on one machine and without anybody's permission. Agents learn each
other's ports from Redis; what an agent reads there is changed, so that it meets the others behind proxies of its own.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.cluster import Cluster
from tests.fakes.models import FakeProvider
from tests.faults.proxy import Proxy
from tests.faults.replies import Replies
from tests.faults.scene import Scene
from tests.ports import free_port
from tests.stores import Stores


class Wired(Cluster):
    """Agents that meet Redis and each other through proxies; gateway, writers and tests do not."""

    def __init__(self, stores: Stores, provider: FakeProvider, **environment: str) -> None:
        super().__init__(stores, provider, **environment)
        self.to_redis: dict[str, Proxy] = {}
        """Agent → its way to Redis, keeper and runner alike."""
        self.links: dict[tuple[str, str], Proxy] = {}
        """(Who watches, who is watched) → the way between them."""
        self.replies: dict[str, Replies] = {}
        self._ports: dict[str, int] = {}
        self._wires = AsyncExitStack()

    async def start(self, agents: int = 3, *, gateway: bool = True) -> None:
        """Lay the wires, then start the agents and the gateway."""
        names = [f"agent-{number}" for number in range(1, agents + 1)]
        self._ports = {name: free_port() for name in names}
        for name in names:
            self.replies[name] = rules = Replies()
            self.to_redis[name] = await self._wire(Proxy(self.stores.urls["redis_url"], watch=rules.watch))
            for other in set(names) - {name}:
                port = self._ports[other]
                self.links[name, other] = link = await self._wire(Proxy(f"tcp://127.0.0.1:{port}"))
                rules.show(str(port), instead=str(link.port))
        await super().start(agents, gateway=gateway)

    async def _wire(self, proxy: Proxy) -> Proxy:
        return await self._wires.enter_async_context(proxy)

    def start_agent(self, agent_id: str, **environment: str) -> None:
        """Start one agent on its wires, again after its end."""
        wires = {"REDIS_URL": self.to_redis[agent_id].url, "LIVENESS_PORT": str(self._ports[agent_id])}
        super().start_agent(agent_id, **wires | environment)

    def between(self, one: str, other: str) -> list[Proxy]:
        """Return both ways between two agents."""
        return [self.links[one, other], self.links[other, one]]

    async def close(self) -> None:
        """End everything, the wires last."""
        await super().close()
        await self._wires.aclose()


@asynccontextmanager
async def running_wired(agents: int, **environment: str) -> AsyncIterator[Wired]:
    """Run a wired cluster with stores and a provider of its own."""
    async with AsyncExitStack() as stack:
        stores = Stores()
        stack.callback(stores.close)
        await stores.start()
        cluster = Wired(stores, await stack.enter_async_context(FakeProvider()), **environment)
        stack.push_async_callback(cluster.close)
        await cluster.start(agents)
        yield cluster


def wires(scene: Scene) -> Wired:
    """Return the cluster of a row that is played on a wired one."""
    assert isinstance(scene.cluster, Wired)
    return scene.cluster
