"""The index on real agents: their keepers make it, their primary fills it, and Redis denies nobody anything."""

from tests.fakes.embedder import FakeEmbedder
from tests.remembered import person, remembering
from tests.waiting import wait_until


async def test_after_flushall_real_agents_find_by_meaning_what_they_found_before() -> None:
    async with FakeEmbedder() as embedder, remembering(2, embedder) as cluster, person(cluster, "ada") as ada:
        await ada.remember("I drink green tea")
        alias = cluster.redis.keys.memory_alias
        before = await cluster.redis.data.ft(alias).info()  # type: ignore[no-untyped-call]
        await cluster.redis.data.flushall()
        await ada.until_found("I drink green tea")

        async def whole() -> bool:
            now = await cluster.redis.data.ft(alias).info()  # type: ignore[no-untyped-call]
            return bool((now["index_name"], now["num_docs"]) == (before["index_name"], before["num_docs"]))

        await wait_until(whole, of="the same index")
        assert await cluster.redis.data.acl_log() == []
