"""People of each role in front of the control plane, in a browser."""

import asyncio
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page

from appliance.core.clock import monotonic
from appliance.web.protection import cookie_name
from tests.cluster import Cluster

SCALED_WITHIN_S = 240.0
_LOOK_S = 0.1
NAMES = {"viewer": "vera", "operator": "olga", "admin": "ada"}


async def signed_in(browser: Browser, cluster: Cluster, role: str, **options: Any) -> BrowserContext:
    """Open a browser of somebody with a role."""
    _, login = await cluster.sign_in(f"{NAMES[role]} of the pages", role)
    context = await browser.new_context(**options)
    context.set_default_timeout(20_000)
    await context.add_cookies([{"name": cookie_name(cluster.settings), "value": login, "url": cluster.url}])
    return context


async def scale(page: Page, number: int) -> dict[str, Any]:
    """Scale on the agents page as a person does, and follow it until all is as wished.

    Returns:
        `preview`: what was to happen; `shown`: what the page said meanwhile of the agents; `took_s`: seconds.
    """
    await page.fill("#number", str(number))
    await page.click("text=Preview")
    preview = await page.locator(f"#act p:has-text('→ {number}:')").first.inner_text()
    began, shown = monotonic(), list[str]()
    await page.click(f"#act button:has-text('Scale to {number}')")
    while True:
        said = " | ".join(await page.locator("tr .words").all_inner_texts())
        if said not in shown[-1:]:
            shown.append(said)
        agents = await page.locator("tr[id^=agent-]").count()
        if agents == number and "all is as it should be" in await page.locator(".headline").inner_text():
            return {"preview": preview, "took_s": round(monotonic() - began, 1), "shown": shown}
        assert monotonic() - began < SCALED_WITHIN_S, f"not {number} agents after {SCALED_WITHIN_S} s: {said}"
        await asyncio.sleep(_LOOK_S)
