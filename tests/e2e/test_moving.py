"""An agent is taken out while people read its answers: their pages show nothing of it but the answer."""

from collections.abc import AsyncIterator

import pytest

from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import LONG, ask, checked, committed, owner_of, turn_done
from tests.fakes.models import FakeProvider, expected_text
from tests.runners import Runners, running_runners
from tests.stores import Stores

BANNERS = """
window.banners = [];
new MutationObserver(() => window.banners.push(document.getElementById("banner")?.textContent))
  .observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
"""


@pytest.fixture(scope="module")
async def cluster(stores: Stores, provider: FakeProvider) -> AsyncIterator[Cluster]:
    """Runners whose keepers the test plays, so that it says when one of them drains."""
    async with running_runners(stores, provider, 3) as running:
        yield running


async def test_a_tab_moves_to_another_agent_before_its_own_stops_and_shows_no_banner(
    cluster: Runners, tab: Tab
) -> None:
    page = await tab()
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "/events?" in request.url else None)
    await page.add_init_script(BANNERS)
    conversation = await ask(page, cluster, LONG)
    leaving = (await owner_of(page, cluster)).id
    cluster.drain(leaving, within_s=1)
    await cluster.until_drained(leaving)
    assert await cluster.terminate(leaving) == 0
    await turn_done(page)
    checked(await page.evaluate("window.seen"), expected_text(LONG))
    assert await committed(cluster, conversation) == expected_text(LONG)
    assert "began again" in await page.locator(".loss summary").inner_text()
    assert [url.rpartition("=")[2] for url in streams] == ["0", "1"]
    assert set(filter(None, await page.evaluate("window.banners"))) == set()
    await cluster.restart(leaving)
