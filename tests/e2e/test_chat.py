"""The chat as a person meets it."""

from typing import Any

from playwright.async_api import Page, expect

from appliance.core.records import Agent
from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.fakes.models import expected_text
from tests.waiting import wait_until

GENERATION_S = 4.0
LONG = f"tell me a long story [[tokens=200 delay={int(GENERATION_S * 5)}ms]]"


async def ask(page: Page, cluster: Cluster, message: str) -> str:
    """Ask in a new conversation and return its id once it has one."""
    await page.goto(f"{cluster.url}/new")
    await page.fill("#text", message)
    await page.press("#text", "Enter")
    await page.wait_for_url("**/c/*")
    return page.url.rpartition("/")[2].partition("#")[0]


async def until(page: Page, condition: str) -> None:
    """Wait for a JavaScript condition; the page's own policy forbids Playwright's waiting inside it."""
    await wait_until(lambda: page.evaluate(condition), of=condition)


async def turn_done(page: Page, within_s: float = 30) -> None:
    await page.wait_for_selector('.turn[data-state="done"]', timeout=within_s * 1000)


async def owner_of(page: Page, cluster: Cluster) -> Agent:
    """Return the agent that answers, once the page shows its words."""
    await until(page, "window.seen.filter((e) => e.type === 'token').length > 5")
    turn = await page.locator(".turn").last.get_attribute("data-turn")
    row = await cluster.postgres.row("turn", task=turn)
    assert row is not None
    return next(agent for agent in (await cluster.view()).agents if agent.boot == str(row["owner_boot"]))


async def committed(cluster: Cluster, conversation: str) -> str:
    rows = await cluster.postgres.rows("messages", conversation=conversation, limit=10)
    return str(rows[-1]["text"])


def checked(events: list[dict[str, Any]], text: str) -> None:
    """No event twice, none missing: the last attempt's words are the committed text."""
    cursors = [event["cursor"] for event in events]
    assert len(cursors) == len(set(cursors)), "an event came twice"
    last = max(event["attempt"] for event in events)
    said = "".join(e["text"] for e in events if e["type"] == "token" and e["attempt"] == last)
    assert said == text, "an event is missing"


async def test_an_answer_streams_and_the_page_shows_what_was_committed(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, "hello [[tokens=30 delay=10ms]]")
    await turn_done(page)
    text = expected_text("hello [[tokens=30 delay=10ms]]")
    assert (await page.locator(".assistant .text").inner_text()).strip() == text.strip()
    assert await committed(cluster, conversation) == text
    assert await page.locator(".turn").get_attribute("data-streamed") == "same"
    facts = await page.locator(".facts").inner_text()
    assert "agent-" in facts
    assert "first token" in facts


async def test_killing_the_agent_in_mid_answer_leaves_the_tab_with_a_whole_answer(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, LONG)
    lost = await owner_of(page, cluster)
    await cluster.kill(lost.id)
    await turn_done(page)
    events = await page.evaluate("window.seen")
    checked(events, expected_text(LONG))
    assert await committed(cluster, conversation) == expected_text(LONG)
    assert (await page.locator(".assistant .rich").inner_text()).strip() == expected_text(LONG).strip()
    line = await page.locator(".loss summary").inner_text()
    assert line.startswith(f"{lost.id} lost, agent-")
    assert "took over" in line
    cluster.start_agent(lost.id)
    await cluster.until_active(3)


async def test_freezing_the_agent_in_mid_answer_leaves_the_tab_with_a_whole_answer(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, LONG)
    lost = await owner_of(page, cluster)
    await cluster.freeze(lost.id)
    try:
        await turn_done(page)
    finally:
        await cluster.thaw(lost.id)
    checked(await page.evaluate("window.seen"), expected_text(LONG))
    assert await committed(cluster, conversation) == expected_text(LONG)
    await cluster.until_active(3)


async def test_two_tabs_through_two_agents_see_the_same_events_in_the_same_order(cluster: Cluster, tab: Tab) -> None:
    first = await tab()
    conversation = await ask(first, cluster, "shared [[tokens=3]]")
    await turn_done(first)
    second = await tab()
    await second.goto(f"{cluster.url}/c/{conversation}?try=1")
    await first.evaluate("window.seen.length = 0")
    await first.fill("#text", "for both [[tokens=40 delay=10ms]]")
    await first.press("#text", "Enter")
    for page in (first, second):
        await until(page, "window.seen.some((e) => e.type === 'done')")
    seen = [await page.evaluate("window.seen") for page in (first, second)]
    assert seen[0] == seen[1]
    for page in (first, second):  # what the event says is shown a moment later
        await expect(page.locator(".turn").last).to_have_attribute("data-state", "done")
    texts = [await page.locator(".turn").last.inner_text() for page in (first, second)]
    assert texts[0] == texts[1]


async def test_flushall_during_an_open_chat_heals_by_itself(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, LONG)
    await owner_of(page, cluster)
    await cluster.redis.data.flushall()
    await turn_done(page)
    assert (await page.locator(".assistant .rich").inner_text()).strip() == expected_text(LONG).strip()
    await cluster.until_active(3)


async def test_escape_stops_the_answer_and_keeps_what_was_written(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, "stop me [[tokens=500 delay=20ms]]")
    await owner_of(page, cluster)
    await page.keyboard.press("Escape")
    await page.wait_for_selector('.turn[data-state="cancelled"]')
    assert "Stopped." in await page.locator(".turn").inner_text()
    kept = await committed(cluster, conversation)
    assert expected_text("stop me [[tokens=500 delay=20ms]]").startswith(kept)


async def test_a_failed_turn_says_why_and_can_be_tried_again(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await ask(page, cluster, "refuse me [[status=400]]")
    await page.wait_for_selector('.turn[data-state="failed"]')
    await expect(page.locator(".note.bad")).not_to_be_empty()
    await page.click("text=Try again")
    await expect(page.locator(".turn")).to_have_count(2)


async def test_sending_and_reading_work_without_javascript(cluster: Cluster, tab: Tab) -> None:
    page = await tab(java_script_enabled=False)
    await page.goto(f"{cluster.url}/new")
    await page.fill("#text", "plain [[tokens=4]]")
    await page.click("#send")
    await page.wait_for_url("**/c/*")

    async def answered() -> bool:
        await page.reload()
        return expected_text("plain [[tokens=4]]").strip() in await page.locator(".turns").inner_text()

    await wait_until(answered, of="the answer on the page")


async def test_what_people_and_models_write_stays_text(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    evil = '<img src=x onerror="window.hit=1"> <script>window.hit=1</script> [a](javascript:window.hit=1) [[echo]]'
    await ask(page, cluster, evil)
    await turn_done(page)
    await page.reload()
    assert await page.evaluate("window.hit") is None
    assert await page.locator(".turns img, .turns script, .turns a").count() == 0
    assert "<script>" in await page.locator(".user").inner_text()


async def test_another_persons_conversation_does_not_exist(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    conversation = await ask(page, cluster, "private [[tokens=2]]")
    eve = await tab("eve")
    answer = await eve.goto(f"{cluster.url}/c/{conversation}")
    assert answer is not None
    assert answer.status == 404
    assert "private" not in await eve.content()


async def test_an_empty_message_is_answered_with_a_sentence(cluster: Cluster, tab: Tab) -> None:
    page = await tab()
    await page.goto(f"{cluster.url}/new")
    await page.fill("#text", "   ")
    await page.click("#send")
    await expect(page.locator("#banner")).to_contain_text("empty")


async def test_a_conversation_can_be_renamed_found_and_deleted(cluster: Cluster, tab: Tab) -> None:
    page = await tab("rita")
    await ask(page, cluster, "about herons [[tokens=2]]")
    await turn_done(page)
    await page.reload()
    await page.click(".thread-head summary")
    await page.fill(".thread-head input[name=title]", "Herons of the north")
    await page.click("text=Rename")
    await expect(page.locator(".thread-head h1")).to_have_text("Herons of the north")
    await page.fill("#q", "herons")
    await page.press("#q", "Enter")
    await expect(page.locator(".listing a")).to_have_count(1)
    await page.click(".thread-head summary")
    await page.click("text=Delete")
    await page.wait_for_url("**/new")
