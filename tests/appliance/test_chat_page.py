"""The chat page of an appliance as it is brought up: nginx, three agents, the bundled model, a real browser."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.appliance.commands import Appliance
from tests.e2e.conftest import browser

__all__ = ["browser"]
WITHIN_MS = 120_000
PLAN = """/multi Which colours does a flag need?
- colours = researcher: Name three colours.
- shapes = researcher: Name three shapes.
- critic = reviewer (after colours, shapes): Say which of them do not fit."""


@pytest.fixture
async def page(appliance: Appliance, browser: Browser) -> AsyncIterator[Page]:
    """A tab that is signed in by the link that `nexus link` prints."""
    found = re.search(r"(http\S+/login/\S+)", await appliance.nexus("link"))
    assert found
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    tab = await context.new_page()
    await tab.goto(found[1])
    yield tab
    await context.close()


async def test_sub_agents_of_the_bundled_model_work_on_several_agents_and_become_one_answer(page: Page) -> None:
    await page.fill("#text", PLAN)
    await page.press("#text", "Enter")
    for name in ("colours", "shapes", "critic"):
        child = page.locator(f'[data-child="{name}"]')
        await expect(child).to_have_attribute("data-state", "done", timeout=WITHIN_MS)
        await expect(child).to_contain_text("agent-")
        assert (await child.locator(".found").text_content() or "").strip()
    await page.wait_for_selector('.turn[data-state="done"]', timeout=WITHIN_MS)
    await expect(page.locator(".facts")).to_contain_text("bundled/SmolLM2-135M")
    assert (await page.locator(".turn > .assistant .rich").inner_text()).strip()
