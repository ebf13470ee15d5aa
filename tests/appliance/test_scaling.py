"""`nexus scale` on a whole appliance: the row decides, and `up` obeys it."""

from tests.appliance.commands import Appliance
from tests.waiting import wait_until


async def boots(appliance: Appliance) -> dict[str, str]:
    return {agent["id"]: agent["boot"] for agent in (await appliance.status(code=0))["agents"]}


async def test_five_agents_stay_the_same_five_through_another_up(appliance: Appliance) -> None:
    assert "3 → 5: starts agent-4, agent-5." in await appliance.nexus("scale", "5", "--dry-run")
    assert len(await boots(appliance)) == 3
    said = await appliance.nexus("scale", "5")
    assert "5 agents serve." in said
    before = await boots(appliance)
    assert len(before) == 5
    again = await appliance.nexus("up", "--agents", "3")
    assert "5 agents" in again
    assert await boots(appliance) == before
    said = await appliance.nexus("scale", "3")
    assert "5 → 3: drains " in said
    assert "3 agents serve." in said

    async def three() -> bool:
        found = await boots(appliance)
        return len(found) == 3 and set(found.items()) <= set(before.items())

    await wait_until(three, of="three of the five")
    back = await appliance.nexus("scale", "2")
    assert "2 agents serve." in back
    assert "3 agents serve." in await appliance.nexus("scale", "3")


async def test_a_number_that_cannot_be_is_one_sentence(appliance: Appliance) -> None:
    for number, why in (("-1", "at least one"), ("10000", "FLEET_MAX"), ("many", "not a whole number")):
        assert why in await appliance.nexus("scale", number, code=1)


async def test_a_drained_agent_is_not_started_by_the_control_plane_but_by_up(appliance: Appliance) -> None:
    before = await boots(appliance)
    drained = sorted(before)[-1]
    await appliance.nexus("drain", drained, "--deadline", "1")
    found = await appliance.status(code=1)
    assert f"{drained} is stopped: `make up` starts it." in found["problems"]
    await appliance.nexus("up")

    async def whole() -> bool:
        return set(await boots(appliance)) == set(before)

    await wait_until(whole, of="all agents")
