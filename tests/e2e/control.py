"""People of each role in front of the control plane, in a browser."""

from typing import Any

from playwright.async_api import Browser, BrowserContext

from appliance.web.protection import cookie_name
from tests.cluster import Cluster

NAMES = {"viewer": "vera", "operator": "olga", "admin": "ada"}


async def signed_in(browser: Browser, cluster: Cluster, role: str, **options: Any) -> BrowserContext:
    """Open a browser of somebody with a role."""
    _, login = await cluster.sign_in(f"{NAMES[role]} of the pages", role)
    context = await browser.new_context(**options)
    context.set_default_timeout(20_000)
    await context.add_cookies([{"name": cookie_name(cluster.settings), "value": login, "url": cluster.url}])
    return context
