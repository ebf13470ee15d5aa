"""The control plane's first page in a real browser: it tells of deaths, of stores that are away, and of its own end."""

import signal
import time
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.cluster import Cluster, running_cluster
from tests.e2e.conftest import login_link
from tests.waiting import wait_until

WITHIN_S = 2.0
SIGN = "#live"


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Cluster]:
    """A cluster whose stores and control plane may be hurt."""
    async with running_cluster(2) as cluster:
        await cluster.start_control_plane()
        yield cluster


@pytest.fixture
async def page(browser: Browser, own: Cluster) -> AsyncIterator[Page]:
    """The overview, live."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    errors: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(await login_link(own))
    await page.goto(f"{own.url}/control")
    await expect(page.locator(SIGN)).to_have_text("live")
    yield page
    await context.close()
    assert errors == []


async def state_of(page: Page, agent: str) -> str:
    return await page.locator(f"#{agent} .state").inner_text()


async def until_state(page: Page, agent: str, *states: str) -> float:
    """Wait for a word and return how long it took."""
    began = time.monotonic()

    async def said() -> bool:
        return await state_of(page, agent) in states

    await wait_until(said, of=f"{agent} shown as {' or '.join(states)}")
    return time.monotonic() - began


async def test_a_dead_agent_is_told_within_two_seconds_and_so_is_its_return(own: Cluster, page: Page) -> None:
    await own.kill("agent-2")
    assert await until_state(page, "agent-2", "suspected", "failed") < WITHIN_S
    await until_state(page, "agent-2", "failed")
    await expect(page.locator(".headline")).to_contain_text("1 of 2 agents active; agent-2 has failed")
    own.start_agent("agent-2")
    await until_state(page, "agent-2", "active")


async def test_a_frozen_agent_is_told_within_two_seconds(own: Cluster, page: Page) -> None:
    await own.freeze("agent-2")
    try:
        assert await until_state(page, "agent-2", "suspected", "failed") < WITHIN_S
    finally:
        await own.thaw("agent-2")
    await until_state(page, "agent-2", "active")


async def test_the_end_of_the_control_plane_is_said_and_the_page_comes_back_by_itself(own: Cluster, page: Page) -> None:
    control = own._control
    assert control is not None
    control.kill()
    control.wait()
    await expect(page.locator(SIGN)).to_contain_text("connection lost")
    await own.start_control_plane()
    await expect(page.locator(SIGN)).to_have_text("live")


async def test_a_frozen_control_plane_is_never_shown_as_the_present(own: Cluster, page: Page) -> None:
    control = own._control
    assert control is not None
    control.send_signal(signal.SIGSTOP)
    try:
        await expect(page.locator(SIGN)).to_contain_text("connection lost")
    finally:
        control.send_signal(signal.SIGCONT)
    await expect(page.locator(SIGN)).to_have_text("live")


async def test_a_page_that_hangs_in_an_old_reading_connects_anew(own: Cluster, page: Page) -> None:
    await expect(page.locator(SIGN)).to_have_text("live")
    await page.evaluate("() => { window.real = htmx.swap; htmx.swap = () => new Promise(() => {}); }")
    await expect(page.locator(SIGN)).to_contain_text("connection lost")
    await page.evaluate("() => { htmx.swap = window.real; }")
    await expect(page.locator(SIGN)).to_have_text("live")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_redis_away_is_said_in_words_and_no_agent_looks_dead(
    own: Cluster, page: Page, number: signal.Signals
) -> None:
    own.stores.signal("redis", number)
    try:
        await expect(page.locator(".notice")).to_contain_text("Redis does not answer.")
        assert [await state_of(page, agent) for agent in ("agent-1", "agent-2")] == ["unknown", "unknown"]
        await expect(page.locator(SIGN)).to_have_text("live")
    finally:
        if number is signal.SIGSTOP:
            own.stores.signal("redis", signal.SIGCONT)
        else:
            await own.stores.start_one("redis")
    await expect(page.locator(".notice")).to_have_count(0)
    await until_state(page, "agent-1", "active")


async def test_a_login_that_ends_ends_the_live_page_too(own: Cluster, page: Page) -> None:
    async with own.sql() as sql:
        await sql.execute("delete from logins")
    await page.wait_for_url("**/login")


async def test_without_javascript_it_is_a_plain_page_that_can_be_asked_again(own: Cluster, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False)
    plain = await context.new_page()
    await plain.goto(await login_link(own))
    await plain.goto(f"{own.url}/control")
    assert await state_of(plain, "agent-1") == "active"
    await plain.click("text=Refresh")
    assert "Every agent is active" in await plain.locator(".headline").inner_text()
    await context.close()


async def test_postgresql_away_is_said_in_words_and_the_agents_stay_live(own: Cluster, page: Page) -> None:
    own.stores.signal("postgres", signal.SIGKILL)
    try:
        await expect(page.locator(".notice")).to_contain_text("PostgreSQL does not answer.")
        beat = await page.locator("#agent-1 [data-name='Last beat']").inner_text()
        await expect(page.locator("#agent-1 [data-name='Last beat']")).not_to_have_text(beat)
        assert await state_of(page, "agent-1") == "active"
    finally:
        await own.stores.start_one("postgres")
    await expect(page.locator(".notice")).to_have_count(0)
