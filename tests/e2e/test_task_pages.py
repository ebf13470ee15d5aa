"""Tasks in a real browser: cancel, edit and requeue what is dead and see it done, many at once; without JavaScript."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from appliance.core.task_batches import Wanted
from tests.boards import KINDS, Boarded, board_of
from tests.client import Client
from tests.cluster import Cluster, running_cluster
from tests.e2e.control import signed_in

SLOTS = 4


@pytest.fixture(scope="module")
async def board() -> AsyncIterator[Boarded[Cluster]]:
    """Two agents that run tasks, and their control plane."""
    async with running_cluster(2, TASK_MODULES=KINDS, CLUSTER_MAX_TASKS=str(SLOTS)) as cluster:
        await cluster.start_control_plane()
        async with board_of(cluster, SLOTS, 2) as made:
            yield made


@pytest.fixture
async def page(browser: Browser, board: Boarded[Cluster]) -> AsyncIterator[Page]:
    """The browser of an operator; the page's own errors fail the test."""
    context = await signed_in(browser, board.cluster, "operator", viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
    yield page
    await context.close()
    assert errors == []


async def dead(board: Boarded[Cluster], count: int, *, by: str) -> tuple[str, ...]:
    """Let tasks fail for good."""
    ids = await board.publish("fail", count, by=by, times=99)
    assert {it.state for it in await board.results(ids)} == {"dead"}
    return ids


async def test_a_running_task_is_cancelled_from_the_live_list(page: Page, board: Boarded[Cluster]) -> None:
    await page.goto(f"{board.cluster.url}/control/tasks?kind=sleep")
    await expect(page.locator("#live")).to_have_text("live")
    [id_] = await board.publish("sleep", seconds=300)
    row = page.locator(f"#task-{id_}")
    await expect(row.locator(".state")).to_have_text("running")
    await row.locator("text=cancel").click()
    await expect(page.locator("#act h2")).to_have_text(f"Cancel sleep {id_[:8]}")
    await page.click("#act button:has-text('Cancel')")
    await expect(page.locator("#act")).to_contain_text("1 task cancelled or asked to stop.")
    await expect(row.locator(".state")).to_have_text("cancelled")
    [found] = await board.results((id_,))
    assert found.reason == "stopped on request"


async def test_a_dead_task_is_edited_requeued_and_seen_done(page: Page, board: Boarded[Cluster]) -> None:
    [id_] = await dead(board, 1, by="ada")
    await page.goto(f"{board.cluster.url}/control/tasks/{id_}")
    await expect(page.locator(".headline")).to_contain_text("ValueError('failed 3 times')")
    await page.click("text=Requeue…")
    await page.fill("#act textarea", "{")
    await page.click("#act button:has-text('Requeue')")
    await expect(page.locator("#act")).to_contain_text("The payload is not JSON")
    await page.click("nav.doors >> text=Requeue…")
    await page.fill("#act textarea", '{"times": 0}')
    await page.click("#act button:has-text('Requeue')")
    await expect(page.locator(".headline .state")).to_have_text("done")
    await expect(page.locator(".life")).to_contain_text("olga of the pages: requeue task")
    await expect(page.locator(".life li").last).to_contain_text("done")
    await expect(page.locator("pre.value").last).to_contain_text('"attempt": 4')
    await expect(page.locator("nav.doors")).to_have_count(0)


async def test_those_ticked_are_requeued_at_once_and_the_rest_discarded(page: Page, board: Boarded[Cluster]) -> None:
    ids = await dead(board, 3, by="bob")
    await page.goto(f"{board.cluster.url}/control/dead?kind=fail")
    for id_ in ids[:2]:
        await page.check(f"input[value='{id_}']")
    await page.click("text=Requeue ticked…")
    await expect(page.locator("#act h2")).to_have_text("Requeue 2 dead tasks")
    await page.click("#act button:has-text('Requeue')")
    await expect(page.locator("#act")).to_contain_text("2 tasks requeued.")
    await page.reload()
    await page.click("text=Discard all of kind fail…")
    await page.fill("#act input[name=reason]", "a test")
    await page.click("#act button:has-text('Discard')")
    await expect(page.locator("#act")).to_contain_text("discarded.")
    await page.goto(f"{board.cluster.url}/control/tasks/{ids[2]}")
    await expect(page.locator(".headline")).to_contain_text("discarded by olga of the pages: a test")


async def test_nothing_ticked_is_said_so(page: Page, board: Boarded[Cluster]) -> None:
    await dead(board, 1, by="cleo")
    await page.goto(f"{board.cluster.url}/control/dead")
    await page.click("text=Discard ticked…")
    await expect(page.locator("#act")).to_contain_text("No task was chosen: tick at least one.")


async def test_numbers_by_priority_follow_what_waits(page: Page, board: Boarded[Cluster]) -> None:
    await page.goto(f"{board.cluster.url}/control/tasks")
    ids = await board.publish_all("dora", [Wanted("sleep", {"seconds": 2}, "high") for _ in range(3 * SLOTS)])
    lane = page.locator("#lane-high")
    await expect(lane).to_contain_text("the oldest for")
    await expect(lane).to_contain_text(f"{2 * SLOTS} running")
    await board.results(ids)
    await expect(lane).to_contain_text("nothing has to wait")


async def test_a_conversation_leads_to_its_turns_and_back(page: Page, board: Boarded[Cluster]) -> None:
    _, token = await board.cluster.sign_in("eve")
    client = Client(board.cluster.url, token)
    try:
        conversation = await client.create()
        await client.send(conversation, "why is the sky blue?")
    finally:
        await client.aclose()
    await page.goto(f"{board.cluster.url}/control/tasks?conversation={conversation}")
    await expect(page.locator("tbody .state")).to_have_text("done")
    await page.click("text=one conversation")
    await expect(page.locator("h1")).to_have_text("why is the sky blue?")
    await expect(page.locator(".turn .life")).to_contain_text("step 1: model")
    await page.click("text=Turn 1")
    await expect(page.locator("h1")).to_contain_text("turn 1")
    await expect(page.locator("#live")).to_have_text("live")


async def test_without_javascript_a_dead_task_is_edited_and_many_are_requeued(
    browser: Browser, board: Boarded[Cluster]
) -> None:
    one, *others = await dead(board, 3, by="fay")
    context = await signed_in(browser, board.cluster, "operator", java_script_enabled=False)
    plain = await context.new_page()
    await plain.goto(f"{board.cluster.url}/control/tasks/{one}/requeue")
    await plain.fill("textarea", '{"times": 0}')
    await plain.click("button:has-text('Requeue')")
    await expect(plain.locator(".notice").first).to_have_text("1 task requeued.")
    await plain.goto(f"{board.cluster.url}/control/dead")
    for id_ in others:
        await plain.check(f"input[value='{id_}']")
    await plain.click("text=Discard ticked…")
    await plain.click("button:has-text('Discard 2 dead tasks')")
    await expect(plain.locator(".notice").first).to_have_text("2 tasks discarded.")
    [found] = await board.results((one,))
    assert found.state == "done"
    await context.close()


async def test_a_phone_shows_fifty_tasks_in_a_few_screens(browser: Browser, board: Boarded[Cluster]) -> None:
    await board.results(await board.publish("nothing", 60))
    context = await signed_in(browser, board.cluster, "operator", viewport={"width": 390, "height": 800})
    phone = await context.new_page()
    await phone.goto(f"{board.cluster.url}/control/tasks")
    await expect(phone.locator("tbody tr")).to_have_count(50)
    assert await phone.evaluate("document.documentElement.scrollWidth") == 390
    assert await phone.evaluate("document.documentElement.scrollHeight") < 6000
    await phone.click("text=Older")
    assert await phone.locator("tbody tr").count() >= 10
    await dead(board, 1, by="gil")
    await phone.goto(f"{board.cluster.url}/control/dead")
    box = await phone.locator("input[type=checkbox]").first.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 24, "a finger hits it"
    await context.close()
