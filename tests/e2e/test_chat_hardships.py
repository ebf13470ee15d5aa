"""The chat page when things around it go wrong, and what it says then."""

import signal
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, expect

from tests.cluster import Cluster, running_cluster
from tests.e2e.conftest import RECORD, Tab
from tests.e2e.test_chat import ask, turn_done, until
from tests.fakes.models import expected_text

HIDEABLE = """
let hidden = true;
Object.defineProperty(document, "hidden", { get: () => hidden });
window.show = (yes) => { hidden = !yes; document.dispatchEvent(new Event("visibilitychange")); };
"""
"""A headless browser calls every tab visible."""
CODE = "Look:\n\n```python\nprint('copied')\n```"
TABS_A_BROWSER_CONNECTS = 6


async def until_done(page: Page, turns: int) -> None:
    await until(page, f"document.querySelectorAll('.turn[data-state=done]').length === {turns}")


async def say(page: Page, message: str) -> None:
    await page.fill("#text", message)
    await page.press("#text", "Enter")


async def test_a_model_that_breaks_off_is_not_told_as_the_loss_of_an_agent(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    message = "break [[tokens=40 delay=10ms break_after=20 fail_times=1]]"
    await ask(page, cluster, message)
    await turn_done(page)
    assert "began again" in await page.locator(".loss summary").inner_text()
    restarts = await page.evaluate("window.seen.filter((e) => e.type === 'attempt_restarted')")
    assert [event["from"] for event in restarts] == [""]
    await page.reload()
    line = await page.locator(".loss").inner_text()
    assert "began again" in line
    assert "lost" not in line
    assert (await page.locator(".rich").inner_text()).strip() == expected_text(message).strip()


async def test_more_tabs_than_a_browser_has_connections_all_load(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, "tabs [[tokens=2]]")
    await turn_done(page)
    for _ in range(TABS_A_BROWSER_CONNECTS + 1):
        behind = await page.context.new_page()
        await behind.add_init_script(HIDEABLE)
        await behind.goto(f"{cluster.url}/c/{conversation}", timeout=8000)
    await say(page, "still heard [[tokens=2]]")
    await until_done(page, 2)


async def test_a_tab_that_was_hidden_catches_up_with_every_event_once(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, "before [[tokens=2]]")
    await turn_done(page)
    behind = await page.context.new_page()
    for script in (HIDEABLE, RECORD):
        await behind.add_init_script(script)
    await behind.goto(f"{cluster.url}/c/{conversation}")
    await page.evaluate("window.seen.length = 0")
    await say(page, "meanwhile [[tokens=40 delay=10ms]]")
    await until_done(page, 2)
    assert await behind.evaluate("window.seen") == []
    await behind.evaluate("window.show(true)")
    await until_done(behind, 2)
    assert await behind.evaluate("window.seen") == await page.evaluate("window.seen")


async def test_a_pasted_text_that_is_too_long_is_refused_whole_and_stays(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, "before [[tokens=1]]")
    await turn_done(page)
    # Typed as a paste is: a text set by a script would pass any limit of the field.
    paste = "document.getElementById('text').focus(), document.execCommand('insertText', false, 'x'.repeat(300000))"
    await page.evaluate(paste)
    await page.click("#send")
    await expect(page.locator("#banner")).to_contain_text("256 KiB")
    await until(page, "document.getElementById('text').value.length === 300000")
    await expect(page.locator(".turn")).to_have_count(1)


async def test_code_is_copied_also_where_the_browser_grants_no_clipboard(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, "code [[tokens=1]]")
    await turn_done(page)
    async with cluster.sql() as db:
        written = "update messages set text = %s where conversation_id = %s and role = 'assistant'"
        await db.execute(written, (CODE, conversation))
    await page.reload()
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.click(".copy")
    await expect(page.locator(".copy")).to_have_text("Copied")
    await page.focus("#text")
    await page.keyboard.press("Control+V")
    assert (await page.input_value("#text")).strip() == "print('copied')"


@pytest.fixture
async def own() -> AsyncIterator[Cluster]:
    """A cluster whose stores may be hurt."""
    async with running_cluster(2) as running:
        yield running


class TestRedisAway:
    """On stores of its own."""

    @pytest.fixture
    def cluster(self, own: Cluster) -> Cluster:
        """What `tab` signs in at."""
        return own

    async def test_the_page_says_so_until_redis_is_back_and_keeps_what_is_sent(
        self, cluster: Cluster, tab: Tab
    ) -> None:
        page = await tab()
        await ask(page, cluster, "before [[tokens=2]]")
        await turn_done(page)
        cluster.stores.signal("redis", signal.SIGSTOP)
        try:
            await expect(page.locator("#banner")).to_contain_text("Waiting for Redis")
            await say(page, "during [[tokens=3]]")
            await expect(page.locator(".turn")).to_have_count(2)
            # Kept, that is committed: as queued, or taken by an agent that had not noticed yet.
            await expect(page.locator('.turn[data-state="sending"]')).to_have_count(0)
            await expect(page.locator("#banner")).to_contain_text("Waiting for Redis")
        finally:
            cluster.stores.signal("redis", signal.SIGCONT)
        await until_done(page, 2)
        await expect(page.locator("#banner")).to_be_hidden()
