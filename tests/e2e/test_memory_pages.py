"""The page of what is remembered is for everybody: axe finds nothing serious, and a phone suffices."""

import re
import uuid

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e.conftest import Tab
from tests.e2e.test_look import MEASURE

PATHS = ("/memories", "/memories?closed=true", "/memories?q=drink", "/memories/2", "/memories/1", "/memories/erase")
SIZES = (("light", 360), ("dark", 390), ("light", 1440))
LONG = "The server in the cellar is called " + "very-" * 40 + "long-name and has 16 GB"


@pytest.fixture
async def page(tab: Tab) -> Page:
    """Somebody who has some: one corrected, one pinned, one that is long."""
    return await filled(await tab(f"page-{uuid.uuid4().hex[:8]}"))


async def filled(page: Page) -> Page:
    for text in ("I like to drink coffee", LONG):
        await page.goto(f"{page.url.split('/c/')[0].split('/new')[0]}/memories")
        await page.get_by_label("A sentence").fill(text)
        await page.get_by_role("button", name="Remember").click()
        await expect(page.get_by_text(text, exact=True)).to_be_visible()
    await page.get_by_role("link", name="Memory 1", exact=True).click()
    await page.get_by_label("It is to say").fill("I like to drink tea")
    await page.get_by_role("button", name="Correct").click()
    await expect(page.get_by_role("heading", name="Memory 3")).to_be_visible()
    await page.get_by_role("button", name="Pin it").click()
    await expect(page.get_by_role("button", name="No longer pin it")).to_be_visible()
    return page


async def test_the_pages_are_legible_on_a_phone_and_a_desk_and_axe_finds_nothing(page: Page) -> None:
    start = page.url.split("/memories")[0]
    for path in PATHS:
        for scheme, width in SIZES:
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await page.set_viewport_size({"width": width, "height": 900})
            await page.goto(start + path)
            await page.locator("h1").first.wait_for()
            found = (await Axe().run(page)).response["violations"]
            serious = [(it["id"], [node["html"][:120] for node in it["nodes"]]) for it in found
                       if it["impact"] in ("serious", "critical")]  # fmt: skip
            assert serious == [], (path, scheme, width)
            assert await page.evaluate("document.documentElement.scrollWidth") == width, (path, width)
            assert await page.evaluate(MEASURE) == [], (path, scheme, width)


async def test_a_memory_is_erased_from_its_page(page: Page) -> None:
    await page.get_by_role("button", name="Erase it and its history").click()

    await expect(page).to_have_url(re.compile("/memories$"))
    await expect(page.get_by_text("drink")).to_have_count(0)
    await expect(page.get_by_text("very-long-name")).to_be_visible()
