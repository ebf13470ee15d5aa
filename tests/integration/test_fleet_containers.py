"""What only containers have: copies that are like the original, strangers that are left alone, an engine that goes."""

from collections.abc import AsyncIterator
from typing import Any

import docker
import pytest
from docker.errors import DockerException

from appliance.core.errors import Conflict, NotFound
from control_plane.fleet import FleetAway, MemberState
from control_plane.fleet.containers import Containers
from control_plane.fleet.copying import copy_of, later_networks
from tests.fleets import IMAGE, OfContainers, small_containers
from tests.waiting import wait_until

needs_docker = pytest.mark.docker


@pytest.fixture
async def small() -> AsyncIterator[OfContainers]:
    async with small_containers() as found:
        yield found


def inspected(small: OfContainers, slot: int) -> dict[str, Any]:
    found: dict[str, Any] = small.api.inspect_container(f"{small.project}-agent-{slot}")
    return found


@needs_docker
async def test_a_new_agent_is_like_the_first_but_for_its_name_and_number(small: OfContainers) -> None:
    await small.fleet.start(4)
    first, new = inspected(small, 1), inspected(small, 4)
    assert new["Config"]["Labels"].pop("com.docker.compose.container-number") == "4"
    assert first["Config"]["Labels"].pop("com.docker.compose.container-number") == "1"
    for part in ("Image", "Cmd", "Env", "Labels", "StopSignal"):
        assert new["Config"][part] == first["Config"][part], part
    for part in ("Binds", "Memory", "CapDrop", "PidsLimit", "RestartPolicy", "Init", "NetworkMode"):
        assert new["HostConfig"][part] == first["HostConfig"][part], part
    assert new["Config"]["Hostname"] == new["Id"][:12]
    networks = new["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{small.project}_app", f"{small.project}_data"}
    for ends in networks.values():
        assert {"agent", f"{small.project}-agent-4"} <= set(ends["Aliases"])
        assert f"{small.project}-agent-1" not in ends["Aliases"]


@needs_docker
async def test_one_that_was_cut_off_from_a_network_is_no_model_for_others(small: OfContainers) -> None:
    await small.fleet.start(2)
    small.api.disconnect_container_from_network(f"{small.project}-agent-1", f"{small.project}_data")
    await small.fleet.start(3)
    networks = inspected(small, 3)["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{small.project}_app", f"{small.project}_data"}


@needs_docker
async def test_strangers_are_neither_listed_nor_touched(small: OfContainers) -> None:
    name = f"{small.project}-agent-2"
    stranger = small.api.create_container(IMAGE, ["sleep", "600"], name=name)["Id"]
    try:
        assert [it.slot for it in await small.fleet.members()] == [1]
        with pytest.raises(NotFound):
            await small.fleet.kill(2)
        with pytest.raises(Conflict, match="already in use"):
            await small.fleet.start(2)
        assert small.api.inspect_container(stranger)["State"]["Status"] == "created"
    finally:
        small.api.remove_container(stranger, force=True)


@needs_docker
async def test_a_container_that_was_removed_behind_our_back_is_said_so_and_made_anew(small: OfContainers) -> None:
    await small.fleet.start(2)
    small.api.remove_container(f"{small.project}-agent-2", force=True)
    with pytest.raises(NotFound, match="no agent-2"):
        await small.fleet.restart(2)
    await small.fleet.start(2)

    async def runs() -> bool:
        return [it.state for it in await small.fleet.members()] == [MemberState.RUNNING] * 2

    await wait_until(runs, of="both agents")
    for slot in (1, 2):
        small.api.remove_container(f"{small.project}-agent-{slot}", force=True)
    with pytest.raises(Conflict, match="make up"):
        await small.fleet.start(2)


@needs_docker
async def test_a_stopped_container_says_with_which_code_it_ended(small: OfContainers) -> None:
    await small.fleet.kill(1)

    async def ended() -> bool:
        return (await small.fleet.members())[0].detail == "ended with code 137"

    await wait_until(ended, of="the code")


async def test_an_engine_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**_options: object) -> None:
        raise DockerException("Connection refused")

    monkeypatch.setattr(docker, "APIClient", refuses)
    fleet = Containers()
    for asked in (fleet.members, fleet.stats):
        with pytest.raises(FleetAway, match="does not answer"):
            await asked()
    await fleet.aclose()


def test_a_copy_takes_no_address_and_no_name_from_the_original() -> None:
    source = {
        "Id": "0123456789abcdef",
        "Name": "/nexus-agent-1",
        "Config": {
            "Hostname": "0123456789ab", "MacAddress": "02:42", "Image": "nexus/agent:1", "StopTimeout": 40,
            "Labels": {"com.docker.compose.container-number": "1", "com.docker.compose.replace": "x", "mine": "yes"},
        },
        "HostConfig": {"NetworkMode": "nexus_data", "Memory": 5},
        "NetworkSettings": {"Networks": {
            "nexus_app": {"Aliases": ["0123456789ab", "nexus-agent-1", "agent"], "IPAddress": "172.18.0.4"},
            "nexus_data": {"Aliases": None, "IPAddress": "172.19.0.4"},
        }},
    }  # fmt: skip
    copy = copy_of(source, "nexus-agent-7", 7)
    assert copy == {
        "Image": "nexus/agent:1", "StopTimeout": 40,
        "Labels": {"com.docker.compose.container-number": "7", "mine": "yes"},
        "HostConfig": {"NetworkMode": "nexus_data", "Memory": 5},
        "NetworkingConfig": {"EndpointsConfig": {"nexus_data": {"Aliases": ["nexus-agent-7"]}}},
    }  # fmt: skip
    assert later_networks(source, "nexus-agent-7") == {"nexus_app": {"Aliases": ["agent", "nexus-agent-7"]}}
