"""Tools in the chat: what is called, what its user is asked, and the choice (DESIGN 12)."""

from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.cluster import Cluster, running_cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import ask, turn_done
from tests.fakes.outside import Outside, outside
from tests.waiting import wait_until

MEASURE = '[[tool=measure:{"of":"abc"} quote]]'
MAY_I = '[[tool=ask_first:{"words":"%s"} quote]]'
LOSE = '[[tool=act:{"words":"lost-here","hold":3} quote]]'


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Outside]:
    async with outside() as running:
        yield running


@pytest.fixture(scope="module")
async def cluster(service: Outside) -> AsyncIterator[Cluster]:
    """Two agents that know the tools of the tests."""
    async with running_cluster(2, TOOL_MODULES="tests.fakes.tools", OUTSIDE_URL=service.url) as running:
        yield running


async def asked(page: Page, cluster: Cluster, words: str) -> None:
    await ask(page, cluster, words)
    await expect(page.locator(".question")).to_be_visible()


async def test_a_call_is_shown_and_opens_to_what_came_of_it(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, f"How long is abc? {MEASURE}")
    await turn_done(page)
    line = page.locator(".tools li")
    await expect(line).to_have_attribute("data-state", "done")
    await expect(line).to_contain_text("measure")
    await line.locator("summary").click()
    await expect(line.locator(".input")).to_have_text('{"of":"abc"}')
    await expect(line.locator(".found")).to_have_text('{"length":3}')
    await page.reload()
    await expect(page.locator(".tools li .found")).to_have_text('{"length":3}')


async def test_a_person_allows_a_call_and_it_is_made(cluster: Cluster, tab: Tab, service: Outside) -> None:
    page = await tab()
    await asked(page, cluster, f"May you? {MAY_I % 'allowed-here'}")
    await expect(page.locator(".question")).to_contain_text("May ask_first be called with this?")
    assert await service.acts("allowed-here") == []
    results = await Axe().run(page)
    assert [it["id"] for it in results.response["violations"] if it["impact"] in ("serious", "critical")] == []
    await page.get_by_role("button", name="Allow", exact=True).click()
    await turn_done(page)
    await expect(page.locator(".question")).to_have_count(0)
    await expect(page.locator(".losses .loss")).to_have_count(0)
    assert len(await service.acts("allowed-here")) == 1


async def test_a_question_is_still_there_in_another_tab_and_without_scripts(
    cluster: Cluster, tab: Tab, service: Outside
) -> None:
    page = await tab()
    await asked(page, cluster, f"May you not? {MAY_I % 'denied-here'}")
    plain = await tab(java_script_enabled=False)
    await plain.goto(page.url)
    await expect(plain.locator(".question")).to_contain_text("denied-here")
    await plain.get_by_role("button", name="Do not allow").click()
    await turn_done(page)
    await expect(page.locator(".turn .rich")).to_contain_text("did not allow this call")
    assert await service.acts("denied-here") == []


@pytest.mark.parametrize("width", [390, 1280])
async def test_a_call_cut_off_by_the_death_of_its_agent_asks_what_now(
    cluster: Cluster, tab: Tab, service: Outside, width: int
) -> None:
    before = len(await service.acts("lost-here"))
    page = await tab(viewport={"width": width, "height": 800})
    await ask(page, cluster, f"Lose it {LOSE}")

    async def called() -> bool:
        return len(await service.acts("lost-here")) > before

    await wait_until(called, of="the call")
    (turn,) = await page.locator(".turn").evaluate_all("all => all.map(it => it.dataset.turn)")
    row = await cluster.postgres.row("turn", task=turn)
    assert row is not None
    owner = next(it for it in (await cluster.view()).agents if it.boot == str(row["owner_boot"]))
    await cluster.kill(owner.id)
    question = page.locator(".question")
    await expect(question).to_contain_text("was cut off while it ran")
    await expect(page.locator(".tools li")).to_have_attribute("data-state", "unknown")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cluster.start_agent(owner.id)
    await page.get_by_role("button", name="It did happen").click()
    await turn_done(page)
    await expect(page.locator(".turn .rich")).to_contain_text("it did happen")
    assert len(await service.acts("lost-here")) == before + 1, "never repeated in silence"
    await cluster.until_active(2)
