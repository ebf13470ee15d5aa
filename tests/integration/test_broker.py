"""The broker takes verbs and slots, nothing else, from nobody but its own user."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx2
import pytest

from appliance.core.errors import Conflict, NotFound
from appliance.embedded.places import Home
from control_plane.broker.main import listening, server_of, thaw_forgotten
from control_plane.fleet import FleetAway, Member, MemberState, Stats
from control_plane.fleet.processes import Processes
from control_plane.fleet.remote import Remote
from tests.cluster import ROOT
from tests.fleets import small_processes
from tests.waiting import wait_until


class Recorder:
    """A fleet that notes what it is asked, and fails as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.error: Exception | None = None

    def _note(self, *asked: object) -> None:
        self.asked.append(asked)
        if self.error:
            raise self.error

    async def members(self) -> tuple[Member, ...]:
        self._note("members")
        return (Member("agent-1", 1, MemberState.FROZEN, "ä", 1.5, 2),)

    async def stats(self) -> tuple[Stats, ...]:
        return (Stats("agent-1", 0.25, 1024),)

    async def start(self, slot: int) -> None:
        self._note("start", slot)

    async def stop(self, slot: int) -> None:
        self._note("stop", slot)

    async def remove(self, slot: int) -> None:
        self._note("remove", slot)

    async def restart(self, slot: int) -> None:
        self._note("restart", slot)

    async def kill(self, slot: int) -> None:
        self._note("kill", slot)

    async def freeze(self, slot: int, seconds: float) -> None:
        self._note("freeze", slot, seconds)

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        self._note("logs", slot, lines, follow)
        for number in range(lines):
            yield f"line {number}"


@pytest.fixture
def fleet() -> Recorder:
    return Recorder()


@pytest.fixture
async def socket(fleet: Recorder, tmp_path: Path) -> AsyncIterator[Path]:
    path, server = tmp_path / "broker.sock", server_of(fleet)
    with listening(path) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield path
        server.should_exit = server.force_exit = True
        await serving


@pytest.fixture
async def remote(socket: Path) -> AsyncIterator[Remote]:
    client = Remote(str(socket))
    await wait_until(client.members, of="the broker")
    yield client
    await client.aclose()


@pytest.fixture
async def raw(socket: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(socket)), base_url="http://b") as http:
        yield http


async def test_every_verb_arrives_with_its_slot_and_every_record_comes_back_whole(
    remote: Remote, fleet: Recorder
) -> None:
    assert await remote.members() == (Member("agent-1", 1, MemberState.FROZEN, "ä", 1.5, 2),)
    assert await remote.stats() == (Stats("agent-1", 0.25, 1024),)
    fleet.asked.clear()
    for verb in (remote.start, remote.stop, remote.remove, remote.restart, remote.kill):
        await verb(7)
    await remote.freeze(7, 2.5)
    assert [line async for line in remote.logs(7, 3, follow=True)] == ["line 0", "line 1", "line 2"]
    verbs = ["start", "stop", "remove", "restart", "kill"]
    assert fleet.asked == [*((verb, 7) for verb in verbs), ("freeze", 7, 2.5), ("logs", 7, 3, True)]


@pytest.mark.parametrize("kind", [NotFound, Conflict, FleetAway])
async def test_an_error_is_the_same_on_the_other_side(
    remote: Remote, fleet: Recorder, kind: type[NotFound | Conflict | FleetAway]
) -> None:
    fleet.error = kind("agent-7 has gone.")
    with pytest.raises(kind, match=r"agent-7 has gone\."):
        await remote.stop(7)
    with pytest.raises(kind, match=r"agent-7 has gone\."):
        async for _ in remote.logs(7, 3, follow=True):
            pass


async def test_what_nobody_foresaw_says_nothing_of_the_inside(remote: Remote, fleet: Recorder) -> None:
    fleet.error = RuntimeError("a secret")
    with pytest.raises(FleetAway) as failed:
        await remote.stop(7)
    assert "secret" not in failed.value.detail


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/members/0/stop", 400),
        ("POST", "/members/-1/stop", 400),
        ("POST", "/members/100000/stop", 400),
        ("POST", "/members/agent-1/stop", 404),
        ("POST", "/members/1;id/stop", 404),
        ("POST", "/members/1/exec", 404),
        ("POST", "/containers/create", 404),
        ("GET", "/members/1/stop", 405),
        ("POST", "/members/1/freeze", 400),
        ("POST", "/members/1/freeze?seconds=0", 400),
        ("POST", "/members/1/freeze?seconds=121", 400),
        ("POST", "/members/1/freeze?seconds=nan", 400),
        ("GET", "/members/1/logs?lines=0", 400),
        ("GET", "/members/1/logs?lines=5001", 400),
    ],
)
async def test_everything_else_is_refused_before_it_reaches_the_fleet(
    remote: Remote, raw: httpx2.AsyncClient, fleet: Recorder, method: str, path: str, status: int
) -> None:
    fleet.asked.clear()
    assert (await raw.request(method, path)).status_code == status
    assert fleet.asked == []


async def test_nobody_but_its_user_may_use_the_socket_and_a_left_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    for _ in range(2):
        with listening(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_without_a_broker_every_call_says_so(tmp_path: Path) -> None:
    for path, why in (("", "no BROKER_SOCKET"), (str(tmp_path / "nobody.sock"), "does not answer")):
        remote = Remote(path)
        with pytest.raises(FleetAway, match=why):
            await remote.members()
        with pytest.raises(FleetAway, match=why):
            async for _ in remote.logs(1, 1, follow=False):
                pass
        await remote.aclose()


async def test_the_program_serves_a_home_whose_path_no_socket_could_have(tmp_path: Path) -> None:
    home = Home.at(tmp_path / ("h" * 90)).create()
    socket = home.run / "broker.sock"
    broker = subprocess.Popen(
        [sys.executable, "-m", "control_plane.broker", "--fleet", "processes", "--home", str(home.root),
         "--socket", str(socket)], cwd=ROOT, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await wait_until(lambda: asyncio.to_thread(socket.exists), of="the socket")
        remote = Remote(str(socket))

        async def told() -> bool:
            try:
                await remote.members()
            except FleetAway as error:
                return "process manager does not answer" in error.detail
            return False

        await wait_until(told, of="the broker's answer")
        await remote.aclose()
    finally:
        broker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(broker.wait, 20) in (0, -signal.SIGTERM)


def test_the_web_process_never_loads_docker_nor_the_process_manager() -> None:
    asked = "import sys, control_plane.app; print([it for it in ('docker', 'supervisor') if it in sys.modules])"
    said = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


async def test_a_broker_that_ends_lets_frozen_agents_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with small_processes(tmp_path, monkeypatch) as small:

        async def runs() -> bool:
            return [it.state for it in await small.fleet.members()] == [MemberState.RUNNING]

        await wait_until(runs, of="agent-1")
        server = server_of(small.fleet, at_the_end=[small.fleet.aclose])
        with listening(small.home.run / "broker.sock") as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await wait_until(lambda: asyncio.sleep(0, server.started), of="the broker's start")
            await small.fleet.freeze(1, 60)
            server.should_exit = True
            await serving
        [after] = await Processes(small.home).members()
        assert after.state in (MemberState.RUNNING, MemberState.STARTING)


async def test_a_broker_that_was_killed_leaves_nobody_frozen_behind_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_processes(tmp_path, monkeypatch) as small:

        async def is_in(state: MemberState) -> bool:
            return [it.state for it in await small.fleet.members()] == [state]

        await wait_until(partial(is_in, MemberState.RUNNING), of="agent-1")
        await small.fleet.freeze(1, 60)
        await wait_until(partial(is_in, MemberState.FROZEN), of="its freeze")
        await thaw_forgotten(Processes(small.home))
        await wait_until(partial(is_in, MemberState.RUNNING), of="its going on")
