"""One appliance in a home of its own; its path has a space and is 120 characters long, so that both always work."""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.appliance.commands import Appliance
from tests.appliance.containers import AGENTS, Stack, in_a_home, last_lines, remove
from tests.ports import free_port

PATH_LENGTH = 120
TEST_WITHIN_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/appliance" in str(item.path) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_WITHIN_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the agents' containers wrote last: they are gone when somebody looks."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and call.when == "call" and isinstance(stack, Stack):
        report.sections += [(f"last lines of {name}", text) for name, text in last_lines(stack).items()]
    return report


@pytest.fixture(scope="session")
def appliance() -> Iterator[Appliance]:
    """An appliance that is up; tests that hurt it heal it."""
    base = Path(tempfile.mkdtemp(prefix="nexus appliance "))
    home = base / ("x" * (PATH_LENGTH - len(str(base)) - 1))
    running = Appliance(home)
    done = running.start("up", "--runtime", "embedded", "--port", str(free_port()))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield running
    finally:
        running.start("down")
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def said() -> list[str]:
    """What the first `up` printed."""
    return []


@pytest.fixture(scope="session")
def stack(said: list[str]) -> Iterator[Stack]:
    """An appliance that is up, brought up from nothing; tests that hurt it heal it."""
    base = Path(tempfile.mkdtemp(prefix="nexus-containers-"))
    running = in_a_home(base)
    done = running.start("up", "--runtime", "docker", "--agents", str(AGENTS), "--port", str(free_port()))
    said.append(done.stdout)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield running
    finally:
        remove(running)
        shutil.rmtree(base, ignore_errors=True)
