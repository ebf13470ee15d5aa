"""The control plane in a browser, with agents that are containers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright, expect

from appliance.cli.common import new_link
from tests.appliance.containers import AGENTS, COLD_S, Stack, answering_primary, docker, engine_answers
from tests.e2e.conftest import FLAGS
from tests.e2e.control import scale
from tests.waiting import PATIENCE_S

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not engine_answers(), reason="no Docker Engine answers"),
    pytest.mark.timeout(COLD_S),
]


@pytest.fixture
async def page(stack: Stack) -> AsyncIterator[Page]:
    """The browser of the administrator; what its console calls an error fails the test."""
    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(await new_link(stack.place))
        yield page
        await browser.close()
    assert errors == []


async def test_scaling_from_the_page_goes_unnoticed_by_who_asks_meanwhile(stack: Stack, page: Page) -> None:
    over, answers = asyncio.Event(), list[str]()

    async def ask() -> None:
        while not over.is_set():
            answers.append(await stack.nexus("chat", "Say hello."))

    person = asyncio.create_task(ask())
    await page.goto(f"{stack.place.config.url}/control/agents")
    up = await scale(page, AGENTS + 2)
    assert up["preview"] == "2 → 4: starts agent-3, agent-4."
    assert len(up["shown"]) > 1, "nothing was seen of the way"
    assert set(stack.place.agents) == {f"agent-{number}" for number in range(1, 5)}
    down = await scale(page, AGENTS)
    assert down["preview"].startswith("4 → 2: drains ")
    over.set()
    await person
    assert answers
    await page.goto(f"{stack.place.config.url}/control/audit")
    await expect(page.locator("main")).to_contain_text("scale")


async def test_a_killed_container_is_in_the_history_with_its_evidence(stack: Stack, page: Page) -> None:
    async with answering_primary(stack) as watched:
        name = stack.name(watched.agent.id)
        docker("kill", name)
        heir = await stack.other_primary(watched.agent)
        await watched.ended()
        docker("start", name)
    epoch = (await stack.whole()).epoch
    await page.goto(f"{stack.place.config.url}/control/history")
    newest = page.locator(f"#epoch-{epoch}")
    await expect(newest).to_contain_text(heir.id)
    await expect(newest).to_contain_text(watched.agent.id)
    await expect(newest.locator("svg").first).to_be_visible()
