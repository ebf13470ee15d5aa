"""The control plane in a real browser: scale, drain, switch over, logs, game day; with and without JavaScript."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect

from appliance.core.desired_fleet import DesiredFleet, Wish
from tests.client import Client
from tests.cluster import Cluster, running_cluster
from tests.e2e.control import signed_in
from tests.steered import ClusterFleet, steered
from tests.waiting import wait_until


@pytest.fixture(scope="module")
async def steerable() -> AsyncIterator[tuple[Cluster, ClusterFleet]]:
    """A cluster of two agents whose fleet the pages steer."""
    async with running_cluster(2, GAME_DAY="true") as cluster, steered(cluster, 2) as fleet:
        yield cluster, fleet


@pytest.fixture(autouse=True)
async def whole(steerable: tuple[Cluster, ClusterFleet]) -> None:
    """Two agents serve again, whatever the test before did."""
    cluster, fleet = steerable
    fleet.crashing.clear()
    await cluster.postgres.rows("resume_failover", by="test", trace="")
    await DesiredFleet(cluster.postgres).change(lambda _: Wish((1, 2)), action="scale", by="test", key=uuid4())
    _, token = await cluster.sign_in("ada of the pages", "admin")
    async with httpx2.AsyncClient(base_url=cluster.url, headers={"Authorization": f"Bearer {token}"}) as http:

        async def settled() -> bool:
            state = (await http.get("/control/api/v1/fleet")).json()
            return bool(state["settled"] and len(state["members"]) == 2 and (await cluster.view()).primary_id)

        await wait_until(settled, within_s=60, of="two agents that serve")


@pytest.fixture
async def page(browser: Browser, steerable: tuple[Cluster, ClusterFleet]) -> AsyncIterator[Page]:
    """The browser of an administrator."""
    context = await signed_in(browser, steerable[0], "admin", viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    yield page
    await context.close()
    assert errors == []


async def test_scaling_is_shown_before_it_is_done_and_followed_until_it_is(
    page: Page, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    await page.goto(f"{cluster.url}/control/agents")
    await page.fill("#number", "3")
    await page.click("text=Preview")
    await expect(page.locator("#act")).to_contain_text("2 → 3: starts agent-3.")
    await expect(page.locator("#act")).to_contain_text("nexus scale 3")
    assert page.url.endswith("/control/agents")
    await expect(page.locator("#act h2")).to_be_focused()
    await page.click("#act button:has-text('Scale to 3')")
    await expect(page.locator("#act")).to_contain_text("3 agents are wished for")
    await expect(page.locator("tr#agent-3 .state")).to_have_text("active")
    await expect(page.locator(".headline")).to_contain_text("3 wished for by ada of the pages: all is as it should be.")


async def test_a_drain_shows_how_many_turns_are_left_and_ends_with_a_resting_agent(
    page: Page, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    _, token = await cluster.sign_in("eve")
    client = Client(cluster.url, token)
    try:
        asked = [await client.create() for _ in range(9)]
        turns = [(await client.send(it, "story [[tokens=600 delay=25ms]]"))["turn"] for it in asked]

        async def some_run_on_two() -> bool:
            return (await cluster.agent("agent-2")).current_load > 0

        await wait_until(some_run_on_two, of="turns on agent-2")
        await page.goto(f"{cluster.url}/control/agents")
        await page.click("a[aria-label='drain agent-2']")
        await expect(page.locator("#act h2")).to_have_text("Drain agent-2, then stop it")
        await page.fill("#act input[name=deadline_s]", "20")
        await page.click("#act button:has-text('Drain')")
        await expect(page.locator("#act")).to_contain_text("agent-2 drains, for up to 20 s, then stops.")
        await expect(page.locator("tr#agent-2 .words")).to_contain_text("left")
        await expect(page.locator("tr#agent-2 progress")).to_be_visible()
        for conversation, turn in zip(asked, turns, strict=True):
            await client.http.post(f"/api/v1/conversations/{conversation}/turns/{turn}/cancel")
        await expect(page.locator("tr#agent-2 .words")).to_contain_text("rests")
        await page.click("a[aria-label='restart agent-2']")
        await page.click("#act button:has-text('Restart')")
        await expect(page.locator("tr#agent-2 .words")).to_contain_text("serves")
    finally:
        await client.aclose()


async def test_a_switchover_moves_the_badge_and_stands_in_the_history(
    page: Page, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    leads = (await cluster.view()).primary_id
    heir = "agent-1" if leads != "agent-1" else "agent-2"
    await page.goto(f"{cluster.url}/control/agents")
    await page.click(f"a[aria-label='switch over {heir}']")
    await page.click("#act button:has-text('Switch over')")
    await expect(page.locator(f"tr#{heir} .badge")).to_be_visible()
    await page.goto(f"{cluster.url}/control/history")
    await expect(page.locator(".failover").first).to_contain_text(f"{leads} → {heir}")
    await expect(page.locator(".failover").first.locator(".spans rect").nth(2)).to_be_visible()
    await page.goto(f"{cluster.url}/control/audit?action=switchover")
    await expect(page.locator("tbody tr").first).to_contain_text(heir)


async def test_the_log_goes_on_by_itself_can_be_held_and_is_filtered_on_the_server(
    page: Page, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    await page.goto(f"{cluster.url}/control/agents/agent-1")
    await expect(page.locator("#following")).to_have_text("following")
    before = await page.locator("#lines li").count()
    assert before > 3
    await page.click("#pause")
    log = cluster.logs()["agent-1"]
    with log.open("a") as file:
        file.write(
            '{"event": "written_by_a_test", "level": "warning", "timestamp": "2999-01-01T00:00:00.1Z", "n": 7}\n'
        )
    await expect(page.locator("#pause")).to_contain_text("new")
    await page.click("#pause")
    line = page.locator("#lines li", has_text="written_by_a_test")
    await expect(line).to_contain_text("n=7")
    await expect(line).to_have_attribute("data-level", "warning")
    await page.select_option("select[name=level]", "warning")
    await page.fill("input[name=text]", "written_by")
    await page.click("button:has-text('Filter')")
    await expect(page.locator("#lines li")).to_have_count(1)
    async with page.expect_download() as download:
        await page.click("text=Download")
    assert "written_by_a_test" in (await (await download.value).path()).read_text()


async def test_a_paused_failover_stands_on_every_page_until_it_is_resumed(
    page: Page, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    await cluster.postgres.value("pause_failover", by="test", trace="")
    for path in ("", "/agents", "/tasks", "/dead", "/history", "/stores", "/audit", "/game-day"):
        await page.goto(f"{cluster.url}/control{path}")
        await expect(page.locator(".notice-warn", has_text="Automatic failover is paused")).to_have_count(1)
    await page.click("text=Resume…")
    await page.click("button:has-text('Resume')")
    await expect(page.locator(".notice")).to_have_text("Automatic failover is on again.")


async def test_a_killed_primary_is_followed_on_the_timeline(
    page: Page, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    leads = (await cluster.view()).primary_id
    await page.goto(f"{cluster.url}/control/game-day")
    await page.click(f"a[aria-label='kill {leads}']")
    await expect(page.locator("#act")).to_contain_text("SIGKILL")
    await page.click("#act button:has-text('Kill')")
    await expect(page.locator(".timeline")).to_contain_text("ada of the pages: kill")
    await expect(page.locator(".timeline")).to_contain_text("serves as primary of epoch")
    await cluster.until_active(2)


async def test_a_crashing_agent_is_shown_with_its_reason(page: Page, steerable: tuple[Cluster, ClusterFleet]) -> None:
    cluster, fleet = steerable
    fleet.crashing[2] = "exited with 1: MODEL_URL cannot be used"
    try:
        await page.goto(f"{cluster.url}/control/agents")
        await expect(page.locator("tr#agent-2 .words")).to_contain_text("MODEL_URL cannot be used")
    finally:
        fleet.crashing.clear()


async def test_everything_can_be_done_without_javascript(
    browser: Browser, steerable: tuple[Cluster, ClusterFleet]
) -> None:
    cluster, _ = steerable
    context = await signed_in(browser, cluster, "operator", java_script_enabled=False)
    plain = await context.new_page()
    await plain.goto(f"{cluster.url}/control/agents")
    now = int(await plain.input_value("#number"))
    await plain.fill("#number", f"{now + 1}")
    await plain.click("text=Preview")
    await expect(plain.locator(".act")).to_contain_text(f"{now} → {now + 1}: starts")
    await plain.click(f"button:has-text('Scale to {now + 1}')")
    await expect(plain.locator(".notice").first).to_contain_text(f"{now + 1} agents are wished for")
    await plain.reload()
    await expect(plain.locator(".notice", has_text="are wished for")).to_have_count(0)

    async def all_serve() -> bool:
        await plain.goto(f"{cluster.url}/control/agents")
        return f"{now + 1} wished for by olga of the pages: all is" in await plain.locator(".headline").inner_text()

    await wait_until(all_serve, of="one agent more on the page")
    await context.close()


async def test_a_viewer_is_offered_nothing(browser: Browser, steerable: tuple[Cluster, ClusterFleet]) -> None:
    cluster, _ = steerable
    context = await signed_in(browser, cluster, "viewer")
    page = await context.new_page()
    for path in ("", "/agents", "/agents/agent-1", "/tasks", "/dead", "/game-day", "/history"):
        await page.goto(f"{cluster.url}/control{path}")
        await page.locator("h1").first.wait_for()
        assert await page.locator("form[method=post]:not([action='/logout'])").count() == 0
        assert await page.locator(".do a, .doors a, .scale").count() == 0
    await expect(page.locator(".menu summary")).to_contain_text("viewer")
    await context.close()
