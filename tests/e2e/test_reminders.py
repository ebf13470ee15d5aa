"""Reminders as a person meets them: set, seen coming, come, cancelled."""

from playwright.async_api import expect

from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import ask, turn_done


async def test_a_reminder_is_set_comes_into_the_open_page_and_another_is_cancelled(cluster: Cluster, tab: Tab) -> None:
    page = await tab("rita")
    await ask(page, cluster, "/remind in 5 days water the plants")
    await turn_done(page)
    await expect(page.locator(".turn .rich")).to_contain_text("is set for")
    planned = page.locator(".reminders li")
    await expect(planned).to_contain_text("water the plants")
    await page.fill("#text", "/remind in 2 seconds call Ada")
    await page.press("#text", "Enter")
    come = page.locator(".turn").nth(2)
    await expect(come.locator(".rich")).to_have_text("call Ada", timeout=20_000)
    await expect(come.locator(".user")).to_contain_text("Reminder 2: ")
    await expect(planned).to_have_count(1)
    await page.get_by_role("button", name="Cancel 1: water the plants").click()
    await expect(planned).to_have_count(0)
    await page.fill("#text", "/reminders")
    await page.press("#text", "Enter")
    await expect(page.locator(".turn").last.locator(".rich")).to_contain_text("You have no reminders")


async def test_a_command_that_cannot_be_is_named_and_stays_in_the_box(cluster: Cluster, tab: Tab) -> None:
    page = await tab("rita")
    await page.goto(f"{cluster.url}/new")
    await page.fill("#text", "/remind me to call Ada")
    await page.press("#text", "Enter")
    await expect(page.locator("#banner")).to_contain_text("/remind in 10 minutes call Ada")
    assert await page.locator("#text").input_value() == "/remind me to call Ada"
