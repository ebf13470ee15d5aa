"""The storm's people and till on real runners: what a death cuts off is asked about, silent repetitions are told."""

import asyncio
import random
import signal

from tests.bench.charges import DOUBTS, PEOPLE, Charges, wrong
from tests.fakes.models import FakeProvider
from tests.fakes.payments import Payments
from tests.faults.facts import Facts
from tests.runners import running_runners
from tests.stores import Stores
from tests.waiting import wait_until


async def test_calls_that_a_death_cuts_off_are_answered_and_none_is_repeated_unasked(
    stores: Stores, provider: FakeProvider
) -> None:
    async with Payments() as till:
        tools = {"TOOL_MODULES": "tests.fakes.tools", "OUTSIDE_URL": till.url}
        async with running_runners(stores, provider, 2, **tools) as two, two.sql() as sql:
            await two.promote("agent-1")
            await sql.execute(DOUBTS.encode())
            charges = Charges(two, Facts(sql=sql, redis=two.redis), till, random.Random(3))
            asking = asyncio.create_task(charges.run(PEOPLE))

            async def half() -> bool:
                return len(till.asked) >= PEOPLE // 2

            await wait_until(half, of="half of the charges")
            await two.kill("agent-1", signal.SIGKILL)
            await two.restart("agent-1")
            await two.promote("agent-2")
            await asyncio.wait_for(asking, 60)
            figures = await charges.figures()
    assert (figures["turns"], figures["turns_done"], wrong(figures)) == (PEOPLE, PEOPLE, [])
    assert figures["questions"] == figures["unknown"] == sum(figures["answered"].values())
    assert figures["unknown"] >= 1, "the death cut something off"
