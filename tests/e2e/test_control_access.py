"""Every page of the control plane is for everybody: axe finds nothing serious, a phone suffices, and it is light."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Response

from appliance.core.records import Turn
from appliance.core.working_memory import Past, SubAgent, Summary, WorkingMemory
from tests.cluster import Cluster, running_cluster
from tests.e2e.control import signed_in
from tests.e2e.test_look import MEASURE
from tests.letters import Letters
from tests.steered import steered

PATHS = (
    "/control", "/control/agents", "/control/agents/agent-1", "/control/agents/agent-1/drain",
    "/control/agents/scale?agents=3", "/control/history", "/control/stores", "/control/audit?verify=true",
    "/control/tasks", "/control/tasks?state=done&kind=none", "/control/tasks/{task}", "/control/tasks/{turn}",
    "/control/tasks/{task}/requeue", "/control/dead", "/control/dead/discard?everything=true",
    "/control/conversations/{conversation}", "/control/questions", "/control/game-day",
    "/control/game-day/agent-1/freeze",
    "/control/failover/pause", "/control/agents/nobody",
)  # fmt: skip
FILLED: dict[str, str] = {}
"""Ids that addresses name, once there is something to show."""
SERIOUS = ("serious", "critical")
MOST_BYTES = 150_000


async def remember(cluster: Cluster, turn: Turn) -> None:
    """Have a session and a summary at hand of a conversation."""
    memory = WorkingMemory(cluster.redis, cluster.postgres, ttl_s=3600, window=8192)
    await memory.begin(turn, Past(), agent="agent-1", tools=("remind", "spawn_sub_agent", "web_fetch"))
    await memory.note_team(turn, {"facts": SubAgent("running", output_key=turn.id), "critic": SubAgent("waiting")})
    await memory.remember(turn, Past().with_turn(turn, "so"), agent="agent-1", model="bundled/SmolLM2-135M")
    await memory.summarise(turn, Summary(1, "- Why is it so? " * 30, "ollama/llama3.2:3b"))


@pytest.fixture(scope="module")
async def shown() -> AsyncIterator[Cluster]:
    """A cluster whose pages all have something to show."""
    async with running_cluster(2, GAME_DAY="true") as cluster, steered(cluster, 2):
        letters = Letters(cluster.postgres)
        await letters.open()
        [task] = await letters.dead(why="the disk is full")
        turn = await letters.turn("why?")
        await letters.answer(turn)
        await remember(cluster, turn)
        for about in (0, 1):
            waits, question = await letters.question(about=about)
        await letters.approvals.answer(await letters.user(), waits.conversation_id, question.id, "skip")
        FILLED.update(task=str(task), turn=turn.id, conversation=turn.conversation_id)
        yield cluster


@pytest.fixture
async def page(browser: Browser, shown: Cluster) -> AsyncIterator[Page]:
    context = await signed_in(browser, shown, "admin")
    yield await context.new_page()
    await context.close()


@dataclass
class Look:
    """What was found of a page in one scheme at one width."""

    scheme: str
    width: int
    violations: list[Any]
    scrolls: int
    faint: list[str]
    weights: list[tuple[str, int]]


async def look(page: Page, url: str, scheme: Any, width: int) -> Look:
    loaded: list[Response] = []
    page.on("response", lambda it: loaded.append(it))
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 900})
    await page.goto(url, wait_until="load")
    await page.locator("h1").first.wait_for()
    whole = [it for it in loaded if "event-stream" not in it.headers.get("content-type", "")]
    weights = [(it.url, len(await it.body())) for it in whole]
    scrolls, faint = await page.evaluate("document.documentElement.scrollWidth"), await page.evaluate(MEASURE)
    return Look(scheme, width, (await Axe().run(page)).response["violations"], scrolls, faint, weights)


@pytest.fixture(scope="module", params=PATHS)
async def looks(request: pytest.FixtureRequest, browser: Browser, shown: Cluster) -> list[Look]:
    """A page on a phone by day and on a desk by night, loaded once each for all that is asked of it."""
    async with await signed_in(browser, shown, "admin") as context:
        page, url = await context.new_page(), shown.url + request.param.format(**FILLED)
        return [await look(page, url, *how) for how in (("light", 390), ("dark", 1440))]


async def test_axe_finds_no_serious_violation(looks: list[Look]) -> None:
    for it in looks:
        found = [one for one in it.violations if one["impact"] in SERIOUS]
        told = [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]
        assert told == [], (it.scheme, it.width)


async def test_a_phone_suffices(looks: list[Look]) -> None:
    for it in looks:
        assert it.scrolls == it.width, "wider than the screen"
        assert it.faint == [], (it.scheme, it.width)


async def test_a_page_weighs_little_with_everything_it_loads(looks: list[Look]) -> None:
    assert sum(weight for _, weight in looks[0].weights) < MOST_BYTES, looks[0].weights


async def test_axe_would_find_one(page: Page, shown: Cluster) -> None:
    await page.goto(f"{shown.url}/control/audit")
    await page.evaluate("document.querySelector('input[name=subject]').closest('label').replaceWith("
                        "document.createElement('input'))")  # fmt: skip
    found = (await Axe().run(page)).response["violations"]
    assert "label" in {it["id"] for it in found}
