"""Memory as a person meets it: told to one agent, used and named by another, corrected, erased for good."""

from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from agent_image.runner.memory.quoting import BEGIN
from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import ask, turn_done
from tests.fakes.embedder import FakeEmbedder
from tests.remembered import remembering
from tests.waiting import wait_until

SHORT = "[[tokens=2]]"


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Two agents that remember."""
    async with FakeEmbedder() as embedder, remembering(2, embedder) as running:
        yield running


async def said(page: Page, cluster: Cluster, text: str) -> str:
    """Say something in a new conversation; return the conversation once it is answered."""
    conversation = await ask(page, cluster, text)
    await turn_done(page)
    return conversation


async def answered_by(cluster: Cluster, conversation: str) -> str:
    rows = await cluster.postgres.rows("messages", conversation=conversation, limit=2)
    return str(rows[-1]["agent_id"])


async def prompt_of(cluster: Cluster, words: str) -> list[str]:
    calls = [it for it in await cluster.provider.calls() if words in it["message"]]
    return list(calls[-1]["prompt"])


async def until_indexed(page: Page, text: str) -> None:
    """The index follows the rows within seconds."""

    async def found() -> bool:
        answer = await page.request.get("/api/v1/memories", params={"q": text})
        body = await answer.json()
        return not body["note"] and any(it["text"] == text for it in body["memories"])

    await wait_until(found, of=f"{text!r} in the index")


async def leads_back(page: Page, told: str, text: str) -> None:
    """The answer names the memory it used, and leads to the message where it was told."""
    memories = page.locator(".memories")
    await expect(memories.locator("summary")).to_have_text("Used 1 memory")
    await memories.locator("summary").click()
    await expect(memories.locator("li")).to_contain_text(text)
    await memories.get_by_role("link").click()
    await page.wait_for_url(f"**/c/{told}#n1")
    await expect(page.locator("#n1")).to_contain_text(f"/remember {text}")


async def test_a_preference_told_to_one_agent_is_used_by_another_until_it_is_erased(cluster: Cluster, tab: Tab) -> None:
    page = await tab("mina", base_url=cluster.url)
    told = await said(page, cluster, "/remember I prefer oolong tea")
    await expect(page.locator(".turn .rich")).to_contain_text("Remembered as memory 1 (preference).")
    await until_indexed(page, "I prefer oolong tea")
    first = await answered_by(cluster, told)
    await cluster.kill(first)

    used = await said(page, cluster, f"Which tea do I prefer {SHORT}")
    assert await answered_by(cluster, used) != first
    assert '"I prefer oolong tea"' in (await prompt_of(cluster, "Which tea do I prefer"))[-1]
    await leads_back(page, told, "I prefer oolong tea")
    cluster.start_agent(first)
    await cluster.until_active(2)

    await said(page, cluster, "/correct 1 I prefer black tea")
    await expect(page.locator(".turn .rich")).to_contain_text("Memory 1 is corrected: it is memory 2 now.")
    await until_indexed(page, "I prefer black tea")
    await said(page, cluster, f"Which tea do I prefer now {SHORT}")
    [*_, prompt] = await prompt_of(cluster, "Which tea do I prefer now")
    assert '"I prefer black tea"' in prompt
    assert "oolong" not in prompt

    await said(page, cluster, "/erase 2")
    await expect(page.locator(".turn .rich")).to_contain_text("Memory 2 is erased")
    await said(page, cluster, f"Which tea do I prefer, again {SHORT}")
    assert BEGIN not in (await prompt_of(cluster, "Which tea do I prefer, again"))[-1]
    await page.goto(f"{cluster.url}/c/{used}")
    await page.locator(".memories summary").click()
    await expect(page.locator(".memories li")).to_have_text("1 erased")


async def test_what_was_used_is_shown_on_a_phone_and_without_scripts(cluster: Cluster, tab: Tab) -> None:
    page = await tab("nora", base_url=cluster.url)
    long = "I prefer oolong tea from " + "Wuyi" * 30
    await said(page, cluster, f"/remember {long}")
    await until_indexed(page, long)
    used = await said(page, cluster, f"Which oolong tea do I prefer {SHORT}")
    results = await Axe().run(page)
    assert [it["id"] for it in results.response["violations"] if it["impact"] in ("serious", "critical")] == []
    phone = await tab("nora", java_script_enabled=False, viewport={"width": 390, "height": 800})
    await phone.goto(f"{cluster.url}/c/{used}")
    await phone.locator(".memories summary").click()
    entry = phone.locator(".memories li")
    await expect(entry).to_be_visible()
    await expect(entry).to_contain_text(long)
    box = await entry.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390
