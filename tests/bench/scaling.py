"""What people notice when the fleet is scaled from the page: nothing, it is hoped.

    python -m tests.bench.scaling [--quick] [--runtime docker|embedded] --json FILE

Starts an appliance in a home of its own, its model a scripted provider. Thirty people hold conversations; in Chromium
an administrator scales 2 → 5 → 2. Every answer must be shown whole, each word once; `upstreams_s` is the longest time
in which the gateway's list differed from what the registry asks for. `--quick`: six people.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from appliance.cli.common import Place, new_link
from appliance.containers.running import containers
from appliance.core.clock import monotonic
from appliance.core.registry import Registry
from appliance.embedded.places import Home
from appliance.embedded.programs import free_port
from appliance.gateway.members import listed, members
from tests.appliance.commands import Appliance
from tests.appliance.containers import docker
from tests.client import Client
from tests.e2e.conftest import FLAGS
from tests.e2e.control import scale
from tests.fakes.models import FakeProvider
from tests.faults.people import Person

FEW, MANY = 2, 5
PROMISED_UPSTREAMS_S = 2.0
LOOK_S = 0.1
SHOTS = Path("build/scaling")


def bridge() -> str:
    """Return this machine's address as containers with a way out see it."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")


def list_of(home: Home, runtime: str) -> Callable[[], str]:
    """Return what reads the gateway's list of agents."""
    if runtime == "embedded":
        return (home.nginx / "agents.conf").read_text
    gateway = next(it.name for it in containers(home) if it.program == "gateway")
    return lambda: docker("exec", gateway, "cat", "/run/gateway/agents.conf")


async def lag_of_upstreams(place: Place, runtime: str, over: asyncio.Event) -> tuple[float, int]:
    """Return the longest time in which the gateway's list was not what the registry asks for, and the number of looks.

    A difference is counted from the look that found it to the look that finds it gone.
    """
    read, differs_since, longest, looks = list_of(place.home, runtime), 0.0, 0.0, 0
    async with place.redis() as redis:
        while not over.is_set():
            there = listed(await asyncio.to_thread(read))
            same = members(await Registry(redis).view(), there) == there
            longest, looks = max(longest, monotonic() - differs_since if differs_since else 0.0), looks + 1
            differs_since = 0.0 if same else differs_since or monotonic()
            await asyncio.sleep(LOOK_S)
    return longest, looks


async def from_the_page(link: str, url: str) -> dict[str, Any]:
    """Scale up and down in a browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 900})
            await page.goto(link)
            await page.goto(f"{url}/control/agents")
            steps = {}
            for number in (MANY, FEW):
                steps[f"to {number}"] = await scale(page, number)
                await page.screenshot(path=SHOTS / f"to-{number}.png", full_page=True)
            return steps
        finally:
            await browser.close()


async def under_conversations(home: Home, runtime: str, people: int) -> dict[str, Any]:
    """Let people talk, scale, let them end; return what they saw."""
    place = Place(home.root)
    async with place.login() as token:
        tab = Client(place.config.url, token)
        crowd = [Person(f"person {number}", tab, f"seed {number}") for number in range(people)]
        over = asyncio.Event()
        lag = asyncio.create_task(lag_of_upstreams(place, runtime, over))
        try:
            steps = await from_the_page(await new_link(place), place.config.url)
        finally:
            over.set()
            await asyncio.gather(*(person.end() for person in crowd))
            await tab.aclose()
        return judged(crowd, await lag, steps)


def judged(crowd: list[Person], lag: tuple[float, int], steps: dict[str, Any]) -> dict[str, Any]:
    """Return the figures and whether all promises were kept."""
    ends: Counter[str] = sum((person.ends for person in crowd), Counter())
    wrong = [it for person in crowd for it in person.wrong]
    figures = {
        "people": len(crowd), "ends": dict(ends), "wrong": wrong,
        "sent_again": dict(sum((person.refused for person in crowd), Counter[str]())),
        "gap_max_s": round(max(gap for person in crowd for gap in person.gaps), 2),
        "upstreams_s": round(lag[0], 2), "looks": lag[1], "steps": steps,
    }  # fmt: skip
    followed = lag[0] < PROMISED_UPSTREAMS_S and all(len(step["shown"]) > 1 for step in steps.values())
    return figures | {"kept": not wrong and set(ends) == {"done"} and followed}


async def run(folder: Path, runtime: str, people: int) -> dict[str, Any]:
    """Start an appliance, measure, stop it."""
    async with FakeProvider(host=bridge() if runtime == "docker" else "127.0.0.1") as provider:
        appliance = Appliance(folder, {"MODEL_URL": f"{provider.url}/v1", "MODEL_NAME": provider.model})
        appliance.within_s = 600  # the first time images are built
        try:
            await appliance.nexus("up", "--runtime", runtime, "--agents", str(FEW), "--port", str(free_port()))
            return await under_conversations(Home.at(folder), runtime, people)
        finally:
            await appliance.nexus("down", *(["--volumes"] if runtime == "docker" else []))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="six people instead of thirty")
    parser.add_argument("--runtime", choices=("docker", "embedded"), default="docker")
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    SHOTS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="nexus-scaling-"))
    try:
        figures = asyncio.run(run(folder, said.runtime, 6 if said.quick else 30))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:<12}{json.dumps(value)}")  # noqa: T201
    if said.json:
        said.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
