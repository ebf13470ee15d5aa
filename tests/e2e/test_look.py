"""Every page is legible: contrast, width, focus and words, in both schemes, from a small phone to a desk."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.cluster import Cluster
from tests.e2e.conftest import login_link

PAGES = (
    "/login", "/new", "/account", "/nowhere", "/control", "/control/history", "/control/agents",
    "/control/agents/agent-1", "/control/stores", "/control/audit", "/control/game-day",
    "/control/tasks", "/control/dead",
)  # fmt: skip
SCHEMES = ("light", "dark")
WIDTHS = (360, 1280)

# Colours are painted on a canvas and read back, so that every notation counts.
MEASURE = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const over = (under, colour) => {
    context.fillStyle = `rgb(${under})`; context.fillRect(0, 0, 1, 1);
    context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const line = (element) => element ? [...line(element.parentElement), element] : [];
  const paint = (under, element) => over(under, getComputedStyle(element).backgroundColor);
  const behind = (element) => line(element).reduce(paint, [255, 255, 255]);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const check = (element, colour, needed, what) => {
    const under = behind(what === 'border' ? element.parentElement : element);
    const is = ratio(over(under, colour), under);
    if (is < needed) found.push(`${what} of ${element.tagName}.${element.className} ${element.innerText}: ${is}`);
  };
  for (const element of document.body.querySelectorAll('*')) {
    const style = getComputedStyle(element);
    if (!element.checkVisibility({visibilityProperty: true}) || !parseFloat(style.fontSize)) continue;
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const field = element.matches('input, textarea');
    if (words) check(element, style.color, 4.5, 'text');
    if (field) check(element, getComputedStyle(element, '::placeholder').color, 4.5, 'hint');
    if (field && parseFloat(style.borderTopWidth)) check(element, style.borderTopColor, 3, 'border');
  }
  return found;
}"""
FOCUSED = """() => {
  const style = getComputedStyle(document.activeElement);
  const frame = getComputedStyle(document.activeElement.parentElement);
  return {
    name: document.activeElement.outerHTML.slice(0, 80),
    end: document.activeElement === document.body,
    seen: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2)
      || document.activeElement.matches('.composer textarea'),
  };
}"""


@pytest.fixture
async def signed_in(browser: Browser, cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(await login_link(cluster, "vera"))
    yield dict(await context.storage_state())
    await context.close()


async def opened(browser: Browser, cluster: Cluster, path: str, state: dict[str, Any], **look: Any) -> Page:
    own: dict[str, Any] = {} if path == "/login" else {"storage_state": state}
    page = await (await browser.new_context(**own, **look)).new_page()
    await page.goto(cluster.url + path)
    await page.locator("h1").first.wait_for()
    return page


@pytest.mark.parametrize("path", PAGES)
async def test_everything_can_be_read_in_both_schemes_on_phone_and_desk(
    browser: Browser, cluster: Cluster, signed_in: dict[str, Any], path: str
) -> None:
    for scheme in SCHEMES:
        page = await opened(browser, cluster, path, signed_in, color_scheme=scheme)
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 800})
            await page.wait_for_function("(width) => innerWidth === width", arg=width)
            assert await page.evaluate(MEASURE) == [], (scheme, width)
            assert await page.evaluate("document.documentElement.scrollWidth") == width, f"{scheme}: too wide"
        await page.context.close()


async def test_the_measure_finds_what_cannot_be_read(
    browser: Browser, cluster: Cluster, signed_in: dict[str, Any]
) -> None:
    page = await opened(browser, cluster, "/control", signed_in, color_scheme="light")
    await page.evaluate("document.documentElement.style.setProperty('--quiet', '#999')")
    assert len(await page.evaluate(MEASURE)) > 5
    await page.context.close()


@pytest.mark.parametrize("path", PAGES)
async def test_what_has_the_focus_is_seen_and_everything_is_reached(
    browser: Browser, cluster: Cluster, signed_in: dict[str, Any], path: str
) -> None:
    page = await opened(browser, cluster, path, signed_in)
    await page.evaluate("document.body.tabIndex = -1, document.body.focus()")
    reached = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(FOCUSED)
        if focused["end"] or focused["name"] in reached:
            break
        assert focused["seen"], focused["name"]
        reached.append(focused["name"])
    assert "Skip to content" in reached[0]
    assert len(reached) >= 3
    await page.context.close()


async def test_nothing_moves_for_those_who_asked_for_that(
    browser: Browser, cluster: Cluster, signed_in: dict[str, Any]
) -> None:
    page = await opened(browser, cluster, "/new", signed_in, reduced_motion="reduce")
    assert await page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
    await page.context.close()


async def test_the_menu_of_the_person_leads_to_the_account_and_out(
    browser: Browser, cluster: Cluster, signed_in: dict[str, Any]
) -> None:
    page = await opened(browser, cluster, "/control", signed_in, viewport={"width": 360, "height": 740})
    await page.click(".bar .menu summary")
    await page.click("text=Account")
    await page.wait_for_url("**/account")
    await page.click(".bar .menu summary")
    await page.click("text=Sign out >> nth=0")
    await page.wait_for_url("**/login")
    await page.context.close()
