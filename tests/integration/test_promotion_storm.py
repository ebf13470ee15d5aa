"""The storm of promotion (`tests.bench.promotion`) at the size of CI: who leads and who reads die while they do."""

import pytest

from tests.bench.promotion import all_ended, all_read, judged, told
from tests.cluster import Cluster, running_cluster
from tests.fakes.embedder import FakeEmbedder
from tests.faults.facts import HISTORY, Facts
from tests.resting import rest
from tests.waiting import wait_until

COUNT, AGENTS, WITHIN_S = 20, 3, 90.0


async def reader(cluster: Cluster, facts: Facts) -> str:
    """Return an agent that reads a range at the moment and does not lead; '' while there is none."""
    rows = await facts.rows("select distinct owner_boot from tasks where kind = 'promote' and state = 'running'")
    view, boots = await cluster.view(), {str(row["owner_boot"]) for row in rows}
    return next((it.id for it in view.agents if it.boot in boots and it.id != view.primary_id), "")


@pytest.mark.timeout(240)
async def test_each_range_is_read_once_although_the_primary_and_a_reader_die_while_it_is_read() -> None:
    async with FakeEmbedder() as embedder:
        more = embedder.environment() | {"CLUSTER_MEMORY_PROMOTION_DELAY": "1", "MEMORY_EXTRACTION": "rules"}
        async with running_cluster(AGENTS, **more) as cluster, cluster.sql() as sql:
            await sql.execute(HISTORY.encode())
            facts = Facts(sql=sql, redis=cluster.redis)
            embedder.mode = "hang"  # whoever reads is still at it when it dies
            for number in range(COUNT):
                await rest(sql, f"person {number % 3}", *told(number))

            reads = await wait_until(lambda: reader(cluster, facts), of="a reader")
            doomed = (str(reads), str((await cluster.view()).primary_id))
            for agent in doomed:
                await cluster.kill(agent)
            embedder.mode = ""
            for agent in doomed:
                cluster.start_agent(agent)

            await wait_until(lambda: all_ended(facts, COUNT), within_s=WITHIN_S, of="the last range")
            await wait_until(lambda: all_read(facts), of="the last conversation")
            figures = await judged(facts, COUNT)
            assert figures["wrong"] == []
            assert figures["claims"] > COUNT, "nobody took over what the dead had begun"
            assert figures["elections"] >= 1
