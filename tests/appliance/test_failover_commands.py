"""What an operator orders and reads: history, switchover, pause, drain, on a whole appliance."""

import json

import msgspec

from appliance.core.history import Failover
from tests.appliance.commands import Appliance
from tests.waiting import wait_until


async def history_of(appliance: Appliance) -> list[Failover]:
    return msgspec.convert(json.loads(await appliance.nexus("history", "--json", "--limit", "1000")), list[Failover])


async def test_the_history_begins_with_the_first_primary(appliance: Appliance) -> None:
    first = (await history_of(appliance))[-1]
    assert (first.epoch, first.kind, first.old_primary) == (1, "first", None)
    schema = await appliance.nexus("history", "--schema")
    assert all(field in schema for field in Failover.__struct_fields__)


async def test_a_switchover_makes_another_agent_primary_and_is_history(appliance: Appliance) -> None:
    before = await appliance.status()
    heir = next(agent["id"] for agent in before["agents"] if agent["id"] != before["primary"])
    said = await appliance.nexus("switchover", "--to", heir)
    assert said.startswith(f"{heir} is primary of epoch {before['epoch'] + 1} after ")
    assert (await appliance.status())["primary"] == heir
    newest = (await history_of(appliance))[0]
    assert (newest.kind, newest.old_primary, newest.new_primary) == ("switchover", before["primary"], heir)
    shown = await appliance.nexus("history", "--limit", "1")
    assert f"{before['primary']} → {heir}" in shown
    assert "█" in shown
    assert "is the primary already" in await appliance.nexus("switchover", "--to", heir, code=1)


async def test_a_pause_is_a_warning_until_it_is_resumed(appliance: Appliance) -> None:
    assert "paused by admin" in await appliance.nexus("pause")
    try:
        found = await appliance.status()
        assert found["healthy"]
        assert "paused by admin" in found["notes"][0]
        finding = (await appliance.doctor(code=0))["failover"]
        assert finding["mark"] == "note"
        assert finding["advice"].startswith("make resume")
        assert "nobody would replace a killed primary" in await appliance.nexus("failover-demo", code=1)
    finally:
        await appliance.nexus("resume")
    finding = (await appliance.doctor(code=0))["failover"]
    assert (finding["mark"], "a hang at most 3.7 s" in finding["said"]) == ("good", True)


async def test_a_drained_agent_is_stopped_and_comes_back_with_up(appliance: Appliance) -> None:
    primary = (await appliance.status())["primary"]
    said = await appliance.nexus("drain", primary, "--deadline", "5")
    assert f"{primary} drained: " in said
    assert f"{primary} is stopped" in said
    found = await appliance.status(code=1)
    assert f"{primary} is stopped: `make up` starts it." in found["problems"]
    assert next(it["state"] for it in found["services"] if it["name"] == primary) == "stopped"
    assert found["primary"] not in (None, primary), "a draining primary hands its seat over"
    assert "does not run" in await appliance.nexus("drain", primary, code=1)
    await appliance.nexus("up")

    async def healthy() -> bool:
        return bool((await appliance.status())["healthy"])

    await wait_until(healthy, of="a whole cluster again")


async def test_an_unknown_agent_is_answered_with_the_names_there_are(appliance: Appliance) -> None:
    said = await appliance.nexus("drain", "agent-9", code=1)
    assert "there are: agent-1, agent-2, agent-3" in said
