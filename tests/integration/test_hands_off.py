"""Who does something to an agent keeps the reconciler's hands off it."""

from tests.stores import Stores
from tests.worlds import a_world


async def test_an_agent_that_two_hold_is_left_alone_until_the_second_lets_it_go(stores: Stores) -> None:
    async with a_world(stores) as world:
        async with world.loop.hands_off("agent-1"), world.loop.hands_off("agent-2"):
            async with world.loop.hands_off("agent-1"):
                pass
            assert not world.loop._may_begin("agent-1")
        assert world.loop._may_begin("agent-1")
