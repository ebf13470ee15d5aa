"""The process manager in a folder whose name would break its configuration, if the name stood in there."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.cli import embedded
from appliance.embedded.launch import identity_of
from appliance.embedded.manager import NAME, Manager
from appliance.embedded.places import Home
from appliance.embedded.processes import end, living, read_record
from appliance.embedded.programs import Program, start, stop
from tests.waiting import wait_until


def sleeper(home: Home, name: str, **env: str) -> Program:
    code = f"import time; print({name!r} + ' began', flush=True); time.sleep(600)"
    return Program(name=name, argv=(sys.executable, "-c", code), cwd=home.run, env=env, check=lambda: None)


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    home = Home.at(tmp_path / f"it's #1; 100% {'long ' * 20}").create()
    running = Manager(home)
    await asyncio.to_thread(running.ensure)
    yield running
    await asyncio.to_thread(running.end_leftovers)
    assert not living(home.run)


async def bring(manager: Manager, *programs: Program) -> None:
    for order, program in enumerate(programs):
        await asyncio.to_thread(manager.put, program, order)
        await asyncio.to_thread(manager.start, program.name)

    async def recorded() -> bool:
        return all(manager.is_current(program) for program in programs)

    await wait_until(recorded, of="the programs' start")


async def test_programs_come_and_go_without_touching_each_other(manager: Manager) -> None:
    one, two = sleeper(manager.home, "one"), sleeper(manager.home, "two")
    await bring(manager, one)
    pid = manager.states()["one"].pid

    await bring(manager, two)
    await asyncio.to_thread(manager.remove, "two")

    assert list(manager.states()) == ["one"]
    assert manager.states()["one"].pid == pid
    assert (manager.home.logs / "one.log").read_text() == "one began\n"


async def test_another_description_is_noticed_and_the_callers_surroundings_are_not(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bring(manager, sleeper(manager.home, "one", COLOUR="red"))

    monkeypatch.setenv("LANG", "xx_XX")

    assert manager.is_current(sleeper(manager.home, "one", COLOUR="red"))
    assert not manager.is_current(sleeper(manager.home, "one", COLOUR="blue"))


async def test_a_killed_manager_takes_nothing_with_it_and_the_next_ends_exactly_what_it_left(manager: Manager) -> None:
    await bring(manager, sleeper(manager.home, "one"), sleeper(manager.home, "two"))
    stranger = start(sleeper(manager.home, "stranger"))
    supervisor = read_record(manager.home.run, NAME)
    assert supervisor
    os.kill(supervisor.pid, signal.SIGKILL)

    def left() -> list[str]:
        return [record.spec.name for record in living(manager.home.run)]

    async def gone() -> bool:
        return not manager.answers and NAME not in left()

    await wait_until(gone, of="the manager's end")

    assert left() == ["one", "two"]
    await asyncio.to_thread(manager.ensure)
    assert manager.answers
    assert [record.spec.name for record in living(manager.home.run)] == [NAME]
    assert stranger.poll() is None
    stop(sleeper(manager.home, "stranger"), stranger)


async def test_a_record_whose_number_went_to_another_process_ends_nobody(manager: Manager) -> None:
    await bring(manager, sleeper(manager.home, "one"))
    stranger = start(sleeper(manager.home, "stranger"))
    file = manager.home.run / "one.json"
    record = read_record(manager.home.run, "one")
    assert record

    file.write_text(file.read_text().replace(f'"pid": {record.pid}', f'"pid": {stranger.pid}'))
    confused = read_record(manager.home.run, "one")
    assert confused
    assert not confused.alive
    end([confused])

    assert identity_of(stranger.pid)
    stop(sleeper(manager.home, "stranger"), stranger)
    with suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGKILL)


async def test_a_drained_program_is_stopped_for_good_with_and_without_the_manager(manager: Manager) -> None:
    await bring(manager, sleeper(manager.home, "one"), sleeper(manager.home, "two"))

    await asyncio.to_thread(embedded.stop, manager.home, "one")
    assert manager.states()["one"].state == "stopped"
    assert [record.spec.name for record in living(manager.home.run)] == ["two", NAME]

    supervisor = read_record(manager.home.run, NAME)
    assert supervisor
    os.kill(supervisor.pid, signal.SIGKILL)
    await asyncio.to_thread(embedded.stop, manager.home, "two")
    assert not living(manager.home.run)
