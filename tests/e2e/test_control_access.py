"""Every page of the control plane is for everybody: axe finds nothing serious, a phone suffices, and it is light."""

from collections.abc import AsyncIterator

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


@pytest.mark.parametrize("path", PATHS)
async def test_axe_finds_no_serious_violation(page: Page, shown: Cluster, path: str) -> None:
    for scheme, width in (("light", 390), ("dark", 1440)):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size({"width": width, "height": 900})
        await page.goto(shown.url + path.format(**FILLED))
        await page.locator("h1").first.wait_for()
        found = (await Axe().run(page)).response["violations"]
        told = [(it["id"], [node["html"][:120] for node in it["nodes"]]) for it in found if it["impact"] in SERIOUS]
        assert told == [], (path, scheme, width)


async def test_axe_would_find_one(page: Page, shown: Cluster) -> None:
    await page.goto(f"{shown.url}/control/audit")
    await page.evaluate("document.querySelector('input[name=subject]').closest('label').replaceWith("
                        "document.createElement('input'))")  # fmt: skip
    found = (await Axe().run(page)).response["violations"]
    assert "label" in {it["id"] for it in found}


@pytest.mark.parametrize("path", PATHS)
async def test_a_phone_suffices(page: Page, shown: Cluster, path: str) -> None:
    for scheme, width in (("light", 390), ("dark", 1440)):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size({"width": width, "height": 900})
        await page.goto(shown.url + path.format(**FILLED))
        await page.locator("h1").first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") == width, "wider than the screen"
        assert await page.evaluate(MEASURE) == [], (path, scheme, width)


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_weighs_little_with_everything_it_loads(page: Page, shown: Cluster, path: str) -> None:
    loaded: list[Response] = []
    page.on("response", lambda it: loaded.append(it))
    await page.goto(shown.url + path.format(**FILLED), wait_until="load")
    weight = sum([len(await it.body()) for it in loaded if "event-stream" not in it.headers.get("content-type", "")])
    assert weight < MOST_BYTES, {it.url: it.headers.get("content-length") for it in loaded}
