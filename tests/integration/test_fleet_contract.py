"""One contract, three fleets: processes, the same behind a broker, containers. What holds for one holds for all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from appliance.core.errors import NotFound
from control_plane.fleet import Fleet, Member, MemberState
from tests.fleets import WORDS, Small, behind_a_broker, small_containers, small_processes
from tests.waiting import wait_until

RUNNING, STOPPED = MemberState.RUNNING, MemberState.STOPPED


@pytest.fixture(params=["processes", "broker", pytest.param("containers", marks=pytest.mark.docker)])
async def small(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Small]:
    if request.param == "containers":
        async with small_containers() as found:
            yield found
        return
    async with small_processes(tmp_path, monkeypatch) as direct:
        if request.param == "processes":
            yield direct
            return
        async with behind_a_broker(direct) as remote:
            yield remote


async def one(fleet: Fleet, slot: int) -> Member | None:
    return next((it for it in await fleet.members() if it.slot == slot), None)


async def until(fleet: Fleet, slot: int, state: MemberState) -> Member:
    async def reached() -> Member | None:
        found = await one(fleet, slot)
        return found if found and found.state is state else None

    found: Member = await wait_until(reached, of=f"agent-{slot} {state}")
    return found


async def test_members_come_and_go_by_slot_and_every_call_may_be_repeated(small: Small) -> None:
    fleet = small.fleet
    await until(fleet, 1, RUNNING)
    for _ in range(2):
        await fleet.start(3)
    member = await until(fleet, 3, RUNNING)
    assert (member.agent_id, member.started_at is not None) == ("agent-3", True)
    assert [it.slot for it in await fleet.members()] == [1, 3]
    for _ in range(2):
        await fleet.stop(3)
    assert (await until(fleet, 3, STOPPED)).started_at is None
    await fleet.start(3)
    await until(fleet, 3, RUNNING)
    for _ in range(2):
        await fleet.remove(3)
    assert [it.slot for it in await fleet.members()] == [1]


async def test_several_started_at_once_do_not_collide(small: Small) -> None:
    await asyncio.gather(*(small.fleet.start(slot) for slot in (2, 3, 4, 3, 2)))
    for slot in (2, 3, 4):
        await until(small.fleet, slot, RUNNING)
    assert [it.slot for it in await small.fleet.members()] == [1, 2, 3, 4]


async def test_a_restart_is_another_life(small: Small) -> None:
    before = await until(small.fleet, 1, RUNNING)
    await small.fleet.restart(1)
    after = await until(small.fleet, 1, RUNNING)
    assert before.started_at
    assert after.started_at
    assert after.started_at > before.started_at


async def test_a_killed_member_can_be_started_again(small: Small) -> None:
    before = await until(small.fleet, 1, RUNNING)
    await small.fleet.kill(1)
    await small.fleet.start(1)

    async def again() -> bool:
        found = await one(small.fleet, 1)
        return bool(found and found.state is RUNNING and found.started_at != before.started_at)

    await wait_until(again, of="another life")


async def test_a_frozen_member_goes_on_by_itself(small: Small) -> None:
    await until(small.fleet, 1, RUNNING)
    await small.fleet.freeze(1, 1.5)
    assert (await until(small.fleet, 1, MemberState.FROZEN)).agent_id == "agent-1"
    await until(small.fleet, 1, RUNNING)


async def test_a_frozen_member_can_be_stopped(small: Small) -> None:
    await until(small.fleet, 1, RUNNING)
    await small.fleet.freeze(1, 60)
    await until(small.fleet, 1, MemberState.FROZEN)
    await small.fleet.stop(1)
    await until(small.fleet, 1, STOPPED)


async def test_a_member_that_crashes_again_and_again_says_why(small: Small) -> None:
    await until(small.fleet, 1, RUNNING)
    await small.make_crash(1)
    crashed = await until(small.fleet, 1, MemberState.CRASHING)
    assert WORDS in crashed.detail
    await small.fleet.remove(1)
    assert await small.fleet.members() == ()


async def test_logs_end_or_are_followed_until_nobody_listens(small: Small) -> None:
    await until(small.fleet, 1, RUNNING)

    async def written() -> list[str]:
        return [line async for line in small.fleet.logs(1, 3, follow=False)]

    async def enough() -> bool:
        return len(await written()) == 3

    await wait_until(enough, of="three lines")
    seen: list[str] = []
    async with asyncio.timeout(20), aclosing(small.fleet.logs(1, 1, follow=True)) as lines:  # type: ignore[type-var]
        async for line in lines:
            seen.append(line)
            if len(seen) == 5:
                break
    assert set(seen) == {"tick"}


async def test_what_a_member_uses_is_counted(small: Small) -> None:
    await until(small.fleet, 1, RUNNING)
    await small.fleet.stats()
    [found] = await small.fleet.stats()
    assert found.agent_id == "agent-1"
    assert found.memory_bytes > 0
    assert found.cpu_cores >= 0


async def test_who_is_not_there_is_said_so(small: Small) -> None:
    fleet = small.fleet
    for asked in (fleet.stop, fleet.restart, fleet.kill):
        with pytest.raises(NotFound, match="no agent-7"):
            await asked(7)
    with pytest.raises(NotFound, match="no agent-7"):
        await fleet.freeze(7, 1)
    with pytest.raises(NotFound, match="no agent-7"):
        async for _ in fleet.logs(7, 1, follow=True):
            pass
