"""Memory as a person meets it: told to one agent, used and named by another, corrected, erased for good."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Request, expect

from agent_image.runner.memory.quoting import BEGIN
from tests.cluster import Cluster
from tests.e2e.conftest import Tab
from tests.e2e.test_chat import ask, turn_done
from tests.fakes.embedder import FakeEmbedder
from tests.remembered import remembering, replay
from tests.waiting import wait_until

SHORT = "[[tokens=2]]"
OOLONG, BLACK = "I prefer oolong tea.", "I prefer black tea."
SAID = r"(oolong|black) tea\."
"""Where one of the two still stands."""


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Two agents that remember."""
    async with FakeEmbedder() as embedder, remembering(2, embedder, CLUSTER_MEMORY_PROMOTION_DELAY="2") as running:
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
        body: Any = await answer.json() if answer.ok else {"note": "nobody answers"}
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
    await expect(page.locator("#n1")).to_contain_text(text)


async def corrected(page: Page, cluster: Cluster, text: str) -> None:
    """Correct the only memory on its page."""
    await page.goto(f"{cluster.url}/memories")
    await page.get_by_role("link", name="Memory 1", exact=True).click()
    await page.get_by_label("It is to say").fill(text)
    await page.get_by_role("button", name="Correct").click()
    await expect(page.get_by_role("heading", name="Memory 2")).to_be_visible()


async def erased(page: Page, cluster: Cluster, no: int) -> set[str]:
    """Erase a memory with its history on its page; return the ids of all of them."""
    listed = await (await page.request.get("/api/v1/memories/export")).json()
    await page.goto(f"{cluster.url}/memories/{no}")
    await page.get_by_role("button", name="Erase it and its history").click()
    await expect(page.get_by_text("Nothing is remembered of you yet.")).to_be_visible()
    return {it["id"] for it in listed}


async def replayed(page: Page, cluster: Cluster, told: str, message: str, sent: Request) -> None:
    """Let all come again: the old request is retried, the old words are said again, and all turns are read again."""
    assert (await page.request.fetch(sent)).status == 202
    await page.goto(f"{cluster.url}/c/{told}")
    await page.fill("#text", message)
    await page.press("#text", "Enter")
    await expect(page.locator('.turn[data-state="done"]')).to_have_count(2)
    assert BEGIN not in "".join(await prompt_of(cluster, message))
    await replay(cluster, told, turns=2)


async def is_gone(page: Page, cluster: Cluster) -> None:
    """Neither the page lists it, nor does a search find it."""
    await page.goto(f"{cluster.url}/memories?closed=true")
    await expect(page.get_by_text("Nothing is remembered of you yet.")).to_be_visible()
    for words in (OOLONG, BLACK, "tea"):
        await page.get_by_label("Search").fill(words)
        await page.get_by_role("button", name="Find").click()
        await expect(page.get_by_text("Nothing that is remembered of you fits.")).to_be_visible()
        await expect(page.locator(".notice")).to_have_count(0)


async def stores_hold_nothing(cluster: Cluster, ids: set[str], told: str) -> None:
    """Tombstones without texts are all there is, but for the old conversation itself, which its person keeps."""
    async with cluster.sql() as sql:
        stones = await sql.execute("select messages from memory_tombstones where memory_id = any(%s)", [list(ids)])
        assert sorted(len(it["messages"]) for it in await stones.fetchall()) == [0, 1]
        rows = await sql.execute("select memory_id from memory_vectors where memory_id = any(%s)", [list(ids)])
        assert await rows.fetchall() == []
        tables = await sql.execute("select tablename from pg_tables where schemaname = current_schema()")
        for table in [it["tablename"] for it in await tables.fetchall()]:
            found = await sql.execute(f"select t::text as row from {table} t where t::text ~ %s".encode(), [SAID])
            assert [it["row"] for it in await found.fetchall() if told not in it["row"]] == [], table
    keys = cluster.redis.keys
    sent = [f"{as_}: {text}" for as_ in ("query", "passage") for text in (OOLONG, BLACK)]
    vectors = [hashlib.sha256(it.encode()).hexdigest() for it in sent]
    stored = [key async for key in cluster.redis.data.scan_iter(f"{keys.prefix}*", count=1000)]
    assert {key for key in stored if key.rpartition(":")[2] in ids} == {keys.memory_gone(it) for it in ids}
    assert [key for key in stored if key.rpartition(":")[2] in vectors] == []


async def test_a_preference_told_to_one_agent_is_used_by_another_until_it_is_erased(cluster: Cluster, tab: Tab) -> None:
    page = await tab("mina", base_url=cluster.url)
    message = f"Good morning. {OOLONG} What is the time? {SHORT}"
    async with page.expect_request("**/messages*") as sending:
        told = await said(page, cluster, message)
    first = await answered_by(cluster, told)
    await cluster.kill(first)
    await until_indexed(page, OOLONG)

    used = await said(page, cluster, f"Which tea do I prefer {SHORT}")
    assert await answered_by(cluster, used) != first
    assert f'"{OOLONG}"' in (await prompt_of(cluster, "Which tea do I prefer"))[-1]
    await leads_back(page, told, OOLONG)
    cluster.start_agent(first)
    await cluster.until_active(2)

    await corrected(page, cluster, BLACK)
    await until_indexed(page, BLACK)
    await said(page, cluster, f"Which tea do I prefer now {SHORT}")
    [*_, prompt] = await prompt_of(cluster, "Which tea do I prefer now")
    assert f'"{BLACK}"' in prompt
    assert "oolong" not in prompt

    ids = await erased(page, cluster, 2)
    await replayed(page, cluster, told, message, await sending.value)
    await stores_hold_nothing(cluster, ids, told)
    await is_gone(page, cluster)
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
