"""The appliance in containers: up, hurt as FAULTS.md says, scaled, down. One stack for all of them."""

import asyncio
import json
import re
from typing import Any

import httpx2
import psycopg
import pytest

from appliance.core.desired_fleet import DesiredFleet
from appliance.core.postgres import connection_options
from tests.appliance.containers import AGENTS, COLD_S, HURTS, Hurt, Stack, answering_primary, docker, engine_answers
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not engine_answers(), reason="no Docker Engine answers"),
    pytest.mark.timeout(COLD_S),
]


async def test_up_ends_with_an_answer_and_a_link_and_shows_what_it_ran(stack: Stack, said: list[str]) -> None:
    assert 'asked "Say hello.": answered by agent-' in said[0]
    assert f"up --detach --scale agent={AGENTS}" in said[0]
    link = re.search(r"Open +(\S+)", said[0])
    assert link
    async with httpx2.AsyncClient() as http:
        assert [(await http.get(link[1])).status_code for _ in range(2)] == [303, 401]


async def test_a_second_up_leaves_every_boot_where_it_is(stack: Stack) -> None:
    before = await stack.status()
    assert before["runtime"] == "docker"
    said = await stack.nexus("up", "--grafana")
    assert "Grafana is left out" in said or stack.containers()["grafana"], "whichever this machine can have"
    after = await stack.status()
    assert after["url"] == before["url"]
    assert [it["boot"] for it in after["agents"]] == [it["boot"] for it in before["agents"]]
    assert [it["pid"] for it in after["services"]] == [it["pid"] for it in before["services"]]


async def test_commands_work_as_without_containers(stack: Stack) -> None:
    assert "agent-" in await stack.nexus("chat", "Name three primary colours.")
    assert "/login/" in await stack.nexus("link")
    assert "keeper" in await stack.nexus("logs", "agent-1")
    assert "postgres" in await stack.nexus("logs", "-n", "1")
    assert "there are:" in await stack.nexus("logs", "nobody", code=1)
    assert {finding["mark"] for finding in (await stack.doctor(code=0)).values()} <= {"good", "note"}


def test_only_nginx_is_published_and_only_on_loopback(stack: Stack) -> None:
    published = {
        program: [binding["HostIp"] for ports in found["HostConfig"]["PortBindings"].values() for binding in ports]
        for program, found in stack.inspected().items()
        if found["HostConfig"]["PortBindings"]
    }
    assert published == {"gateway": ["127.0.0.1"]}
    for name in ("app", "data"):
        assert docker("network", "inspect", "--format", "{{.Internal}}", f"{stack.project}_{name}") == "true"
    assert {program for program, found in stack.inspected().items() if _is_on(found, "data")} == {
        "postgres", "redis", "control-plane", "gateway", *stack.place.agents,
    }  # fmt: skip


def _is_on(found: dict[str, object], network: str) -> bool:
    settings = found["NetworkSettings"]
    assert isinstance(settings, dict)
    return any(name.endswith(f"_{network}") for name in settings["Networks"])


def test_no_container_can_change_itself_or_become_more(stack: Stack) -> None:
    for program, found in stack.inspected().items():
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"], program
        assert host["CapDrop"] == ["ALL"], program
        assert "no-new-privileges:true" in host["SecurityOpt"], program
        assert host["Memory"] > 0, program
        assert host["PidsLimit"] > 0, program
        owner = docker("exec", found["Name"].lstrip("/"), "sh", "-c", "id -u; touch /etc/x 2>/dev/null || echo refused")
        assert owner.split()[0] != "0", program
        assert owner.split()[1] == "refused", program


def test_the_broker_alone_holds_dockers_socket_and_has_no_network(stack: Stack) -> None:
    found = stack.inspected()
    holders = {
        program
        for program, it in found.items()
        for mount in it["Mounts"]
        if mount["Destination"].endswith("docker.sock")
    }
    assert holders == {"broker"}
    assert found["broker"]["HostConfig"]["NetworkMode"] == "none"


def test_no_secret_is_in_what_docker_tells_or_in_a_log(stack: Stack) -> None:
    secrets = [text for file in (stack.home / "secrets").iterdir() if (text := file.read_text().strip())]
    texts = [json.dumps(found) for found in stack.inspected().values()]
    texts += [docker("logs", it.name) for it in stack.containers().values()]
    images = {found["Image"] for found in stack.inspected().values()}
    texts += [docker("image", "history", "--no-trunc", image) for image in images]
    assert len(secrets) > 5
    assert not any(secret in text for secret in secrets for text in texts)


async def test_every_container_says_that_it_is_healthy(stack: Stack) -> None:
    await _all_healthy(stack)


async def _all_healthy(stack: Stack) -> None:
    async def all_healthy() -> bool:
        return {found["State"]["Health"]["Status"] for found in stack.inspected().values()} == {"healthy"}

    await wait_until(all_healthy, within_s=90, of="health of every container")


@pytest.mark.parametrize("hurt", HURTS.values(), ids=HURTS)
async def test_an_open_chat_goes_on_and_another_leads_when_the_primary_is(stack: Stack, hurt: Hurt) -> None:
    async with answering_primary(stack) as watched:
        name = stack.name(watched.agent.id)
        hurt.do(stack, name)
        try:
            heir = await stack.other_primary(watched.agent)
            await watched.ended()
        finally:
            hurt.mend(stack, name)
    assert heir.id != watched.agent.id
    assert (await stack.whole()).agent(watched.agent.id), "it comes back under its name"


async def test_sessions_of_an_agent_that_is_cut_off_do_not_stay_for_ever(stack: Stack) -> None:
    """Each cut would leave some behind, until PostgreSQL has no connection left for anybody."""
    settings, name = stack.place.settings, stack.name(next(it.id for it in (await stack.whole()).agents))
    address = docker(
        "inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{stack.project}_data").IPAddress}}}}', name
    )
    options = connection_options(settings, "test")

    async def sessions() -> int:
        async with await psycopg.AsyncConnection.connect(settings.postgres_url, **options) as connection:
            found = await connection.execute(
                "select count(*) as n from pg_stat_activity where client_addr = %s", [address]
            )
            row: Any = await found.fetchone()
            return int(row["n"])

    async def ended() -> bool:
        return await sessions() == 0

    assert await sessions() >= 4
    HURTS["F6 cut off from the stores"].do(stack, name)
    try:
        await wait_until(ended, within_s=60, of="the end of its sessions")
    finally:
        HURTS["F6 cut off from the stores"].mend(stack, name)
    await stack.whole()


async def test_a_primary_that_is_stopped_in_order_loses_nothing(stack: Stack) -> None:
    """F26: `docker stop` in mid-answer."""
    async with answering_primary(stack) as watched:
        name = stack.name(watched.agent.id)
        stopping = asyncio.create_task(asyncio.to_thread(docker, "stop", name))
        await watched.ended()
        await stopping
    assert '"keeper_stopped"' in await stack.nexus("logs", watched.agent.id, "-n", "200"), "it ended by itself"
    docker("start", name)
    await stack.whole()


async def test_agents_restarted_one_after_another_cost_no_question(stack: Stack) -> None:
    """F27: a rolling restart, with somebody asking all the time."""
    asked, over = [], asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            asked.append(await stack.nexus("chat", "Say hello."))

    people = [asyncio.create_task(ask()) for _ in range(2)]
    for agent in stack.place.agents:
        await stack.whole()
        await asyncio.to_thread(docker, "restart", stack.name(agent))
    await stack.whole()
    over.set()
    await asyncio.gather(*people)
    assert len(asked) >= len(people)


async def test_redis_restarted_in_mid_answer_costs_nothing(stack: Stack) -> None:
    async with answering_primary(stack) as watched:
        await asyncio.to_thread(docker, "restart", stack.name("redis"))
        await watched.ended()
    assert (await stack.whole()).epoch


async def test_scaling_follows_and_up_does_not_undo_it(stack: Stack) -> None:
    """2 → 5 → 2 under questions; an `up` in between leaves the same five boots."""
    asked, over = [], asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            asked.append(await stack.nexus("chat", "Say hello."))

    person = asyncio.create_task(ask())
    await stack.nexus("scale", "5")
    five = {it.id: it.boot for it in (await stack.whole()).agents}
    assert set(five) == {f"agent-{number}" for number in range(1, 6)}
    await stack.nexus("up")
    assert {it.id: it.boot for it in (await stack.whole()).agents} == five
    await stack.nexus("scale", "2")

    async def two_are_left() -> bool:
        return len(stack.place.agents) == AGENTS

    await wait_until(two_are_left, of="the end of the other three containers")
    await stack.whole()
    assert (await stack.status())["healthy"]
    over.set()
    await person
    assert asked


async def test_a_fleet_whose_engine_is_restarted_while_it_is_scaled_ends_as_wished(stack: Stack) -> None:
    """All containers end at once and are started again, as a restarted Docker daemon does it."""
    scaling = asyncio.create_task(asyncio.to_thread(stack.start, "scale", "4"))

    async def wished() -> bool:
        async with stack.place.postgres() as postgres:
            return (await DesiredFleet(postgres).read()).number == 4

    await wait_until(wished, of="a wish for four agents")
    names = [it.name for it in stack.containers().values()]
    await asyncio.to_thread(docker, "kill", *names)
    await asyncio.to_thread(docker, "start", *names)
    await scaling  # it may have lost its way to the stores; what it wished for is kept

    async def four_serve() -> bool:
        return len(stack.place.agents) == 4 and bool(await stack.whole())

    await wait_until(four_serve, within_s=120, of="four agents")
    await _all_healthy(stack)
    assert await stack.nexus("chat", "Say hello.")
    await stack.nexus("scale", str(AGENTS))


async def test_nobody_stays_frozen_when_the_broker_that_was_to_thaw_it_is_killed(stack: Stack) -> None:
    frozen = stack.name(next(it.id for it in (await stack.whole()).agents if not it.is_primary))
    docker("pause", frozen)
    docker("kill", stack.name("broker"))
    docker("start", stack.name("broker"))

    async def goes_on() -> bool:
        return docker("inspect", "--format", "{{.State.Status}}", frozen) == "running"

    await wait_until(goes_on, of="its going on")
    await stack.whole()


async def test_down_leaves_no_container_and_no_network_and_up_finds_the_data_again(stack: Stack) -> None:
    before = await stack.status()
    assert "Stopped" in await stack.nexus("down")
    assert (stack.left("container"), stack.left("network")) == ([], [])
    assert stack.left("volume")
    assert "Nothing was running." in await stack.nexus("down")
    said = await stack.nexus("up")
    assert before["url"] in said, "the address stays"
    assert (await stack.status())["epoch"] > before["epoch"], "so do the data"


async def test_down_with_volumes_leaves_nothing(stack: Stack) -> None:
    assert "data are deleted" in await stack.nexus("down", "--volumes")
    assert [stack.left(kind) for kind in ("container", "network", "volume")] == [[], [], []]
