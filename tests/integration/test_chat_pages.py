"""The chat's pages as a browser without JavaScript gets them."""

import re
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest

from appliance.web.protection import cookie_name
from tests.cluster import Cluster
from tests.fakes.models import expected_text
from tests.waiting import wait_until


class Reader:
    """A person whose browser runs no scripts."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def read(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path, follow_redirects=True)
        assert answer.status_code == status, answer.text
        return answer.text

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        token = re.search(r'name="_csrf" value="(\w+)"', await self.read("/account"))
        assert token
        return await self.http.post(path, data={"_csrf": token[1], **fields})

    async def begin(self, text: str) -> str:
        """Send the first message of a new conversation and return its path."""
        path = f"/c/{uuid.uuid4()}"
        answer = await self.post(f"{path}/messages", text=text, create="1")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{path}#end")
        return path

    async def until_shown(self, path: str, words: str) -> str:
        async def shown() -> str:
            page = await self.read(path)
            return page if words in page else ""

        return str(await wait_until(shown, of=f"{words!r} on the page"))


@pytest.fixture
async def reader(cluster: Cluster) -> AsyncIterator[Reader]:
    _, login = await cluster.sign_in(f"reader-{uuid.uuid4().hex[:8]}")
    cookies = {cookie_name(cluster.settings): login}
    async with httpx2.AsyncClient(base_url=cluster.url, cookies=cookies, headers={"Accept": "text/html"}) as http:
        yield Reader(http)


async def test_somebody_new_gets_an_empty_page_with_four_examples(reader: Reader) -> None:
    page = await reader.read("/")
    assert page.count('class="example"') == 4
    assert "No conversation yet." in page


async def test_home_is_the_newest_conversation(reader: Reader) -> None:
    older = await reader.begin("the older one [[tokens=1]]")
    await reader.until_shown(older, 'data-state="done"')
    newest = await reader.begin("the newer one [[tokens=1]]")
    assert (await reader.http.get("/")).headers["location"] == newest


async def test_an_answer_is_shown_with_who_gave_it_and_how_long_it_took(reader: Reader) -> None:
    path = await reader.begin("facts [[tokens=7]]")
    page = await reader.until_shown(path, 'data-state="done"')
    assert expected_text("facts [[tokens=7]]").strip() in page
    for fact in ("agent-", "fake-model", "7 out", "first token", "total"):
        assert fact in page


async def test_an_unfinished_answer_says_so_and_offers_to_look_again(reader: Reader) -> None:
    path = await reader.begin("slow [[tokens=200 delay=50ms]]")
    page = await reader.read(path)
    assert "Still answering…" in page
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    assert ">Refresh</a>" in page
    turn = re.search(r'data-turn="([\w-]+)"', page)
    assert turn
    assert (await reader.post(f"{path}/stop", turn=turn[1])).status_code == 303
    await reader.until_shown(path, "Stopped.")


async def test_a_second_message_waits_visibly_for_the_answer_before_it(reader: Reader) -> None:
    path = await reader.begin("first [[tokens=200 delay=50ms]]")
    await reader.post(f"{path}/messages", text="second [[tokens=2]]")
    page = await reader.read(path)
    assert "Waiting for the answer before it…" in page
    await reader.post(f"{path}/delete")


async def test_a_failed_turn_says_why_and_offers_another_try(reader: Reader) -> None:
    path = await reader.begin("refuse [[status=400]]")
    page = await reader.until_shown(path, 'data-state="failed"')
    assert "rejects this message" in page
    assert "Try again" in page


@pytest.mark.parametrize(
    ("text", "status", "word"), [("  ", 400, "empty"), ("é" * 500_000, 413, "256 KiB"), ("a\0b", 400, "NUL")]
)
async def test_a_message_that_is_refused_says_why(reader: Reader, text: str, status: int, word: str) -> None:
    path = await reader.begin("before [[tokens=1]]")
    answer = await reader.post(f"{path}/messages", text=text)
    assert answer.status_code == status
    assert word in answer.text


async def test_a_message_that_is_too_long_comes_back_to_be_shortened(reader: Reader) -> None:
    path = await reader.begin("before [[tokens=1]]")
    answer = await reader.post(f"{path}/messages", text="\n<b>" + "é" * 500_000, client_id="the-same")
    assert "\n\n&lt;b&gt;éé" in answer.text
    assert 'value="the-same"' in answer.text


async def test_the_same_client_id_twice_is_one_message(reader: Reader) -> None:
    path = await reader.begin("before [[tokens=1]]")
    for _ in range(2):
        answer = await reader.post(f"{path}/messages", text="only once [[tokens=1]]", client_id="c-1")
        assert answer.status_code == 303
    assert (await reader.read(path)).count("only once [[tokens=1]]</div>") == 1


async def test_a_conversation_is_renamed_found_and_deleted(reader: Reader) -> None:
    path = await reader.begin("about storks [[tokens=1]]")
    await reader.begin("about herons [[tokens=1]]")
    assert (await reader.post(f"{path}/title", title="<i>Storks</i> & more")).status_code == 303
    found = await reader.read(f"{path}?q=storks")
    assert found.count('<li><a href="/c/') == 1
    assert "&lt;i&gt;Storks&lt;/i&gt; &amp; more" in found
    assert "Nothing found." in await reader.read(f"{path}?q=ostriches")
    assert (await reader.post(f"{path}/delete")).status_code == 303
    assert "There is nothing here" in await reader.read(path, status=404)


async def test_the_wisdom_of_the_bundled_model_is_only_spoken_of_when_it_answers(reader: Reader) -> None:
    assert "not wisdom" not in await reader.read("/new")
