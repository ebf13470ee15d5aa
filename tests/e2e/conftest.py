"""A real Chromium, and a tab that is signed in and records every event its page was given."""

import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from appliance.web.tokens import digest_of
from tests.cluster import Cluster
from tests.waiting import PATIENCE_S

expect.set_options(timeout=PATIENCE_S * 1000)  # of whoever drives a browser; Playwright's 5 s are for idle machines
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
RECORD = "window.seen = []; document.addEventListener('nexus:event', (e) => window.seen.push(e.detail));"
Tab = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield running
        await running.close()


async def login_link(cluster: Cluster, name: str = "ada") -> str:
    row = await cluster.postgres.row("ensure_user", tenant="default", name=name, role="operator")
    assert row is not None
    token = secrets.token_urlsafe(32)
    await cluster.postgres.rows("create_login_link", digest=digest_of(token), user=row["id"], life_s=60)
    return f"{cluster.url}/login/{token}"


@pytest.fixture
async def tab(browser: Browser, cluster: Cluster) -> AsyncIterator[Tab]:
    """Open signed-in tabs; the page's own errors fail the test."""
    contexts = []
    errors: list[str] = []

    async def open_tab(name: str = "ada", **options: Any) -> Page:
        context = await browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = await context.new_page()
        await page.add_init_script(RECORD)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        await page.goto(await login_link(cluster, name))
        return page

    yield open_tab
    for context in contexts:
        await context.close()
    assert errors == []
