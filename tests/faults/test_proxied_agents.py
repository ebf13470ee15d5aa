"""An agent with a bad network of its own: to a store through one proxy, to another agent through a second one."""

from contextlib import AsyncExitStack

from tests.cluster import Cluster
from tests.faults.proxy import Proxy
from tests.faults.replies import Replies
from tests.waiting import wait_until


async def test_an_agent_behind_proxies_comes_goes_and_comes_back(cluster: Cluster) -> None:
    first = await cluster.agent("agent-1")
    rules = Replies()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Proxy(cluster.stores.urls["redis_url"], watch=rules.watch))
        postgres = await stack.enter_async_context(Proxy(cluster.stores.urls["postgres_url"]))
        link = await stack.enter_async_context(Proxy(f"tcp://{first.host}:{first.liveness_port}"))
        rules.show(str(first.liveness_port), instead=str(link.port))
        cluster.start_agent("agent-far", REDIS_URL=redis.url, POSTGRES_URL=postgres.url)
        stack.push_async_callback(cluster.dismiss, "agent-far")

        async def alive() -> bool:
            agent = (await cluster.view()).agent("agent-far")
            return agent is not None and agent.status == "active" and agent.boot_alive

        async def away() -> bool:
            return not await alive()

        async def watched() -> bool:
            return link.connections > 0

        await wait_until(alive, of="the agent behind its proxies")
        await wait_until(watched, of="its liveness connection to agent-1 through the proxy")
        await redis.drop()
        await wait_until(away, of="the silence of an agent that Redis does not hear")
        await redis.pass_on()
        await wait_until(alive, of="its return")
