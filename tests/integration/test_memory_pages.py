"""The page of what is remembered, as a browser without JavaScript gets it."""

import re
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest

from appliance.web.protection import cookie_name
from tests.cluster import Cluster
from tests.integration.test_chat_pages import Reader
from tests.waiting import wait_until


async def somebody(cluster: Cluster) -> httpx2.AsyncClient:
    _, login = await cluster.sign_in(f"rememberer-{uuid.uuid4().hex[:8]}")
    cookies = {cookie_name(cluster.settings): login}
    return httpx2.AsyncClient(base_url=cluster.url, cookies=cookies, headers={"Accept": "text/html"})


@pytest.fixture
async def reader(cluster: Cluster) -> AsyncIterator[Reader]:
    async with await somebody(cluster) as http:
        yield Reader(http)


async def kept(reader: Reader, text: str, type_: str = "") -> int:
    """Have something remembered and return its number."""
    answer = await reader.post("/memories", text=text, type=type_)
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].removeprefix("/memories#m"))


async def test_who_has_no_memories_reads_how_they_come(reader: Reader) -> None:
    page = await reader.read("/memories")

    assert "Nothing is remembered of you yet." in page
    assert "/remember I prefer short answers" in page


async def test_what_is_written_into_the_page_is_listed_with_its_type(reader: Reader) -> None:
    no = await kept(reader, "I <b>prefer</b> tea", "preference")

    page = await reader.read("/memories")
    assert f'id="m{no}"' in page
    assert "I &lt;b&gt;prefer&lt;/b&gt; tea" in page
    assert "<b>preference</b>" in page


async def test_a_type_finds_its_own(reader: Reader) -> None:
    await kept(reader, "I prefer tea", "preference")
    await kept(reader, "I learn Norwegian until May", "goal")

    page = await reader.read("/memories?type=goal")

    assert "Norwegian" in page
    assert "I prefer tea" not in page
    assert "A memory is of one of these types" in await reader.read("/memories?type=rumour", 400)


async def test_a_search_shows_the_nearest_first_with_its_distance(reader: Reader) -> None:
    await kept(reader, "I prefer tea with lemon")
    await kept(reader, "My server stands in Oslo")

    async def near() -> str:
        page = await reader.read("/memories?q=tea with lemon")
        return page if "distance" in page else ""

    page = await wait_until(near, of="a distance")
    assert page.index("tea with lemon</p>") < (page.find("Oslo</p>") % len(page))


async def test_what_cannot_be_kept_comes_back_with_the_reason(reader: Reader) -> None:
    refused = await reader.post("/memories", text="tea " * 600)

    assert refused.status_code == 400
    assert "one memory holds 2,000: split it into sentences" in refused.text
    assert "tea tea" in refused.text
    assert (await reader.post("/memories", text="  ")).status_code == 400


async def test_a_correction_shows_what_it_was(reader: Reader) -> None:
    no = await kept(reader, "I live in Rome")

    answer = await reader.post(f"/memories/{no}/correct", text="I live in Oslo")

    page = await reader.read(answer.headers["location"])
    assert "I live in Oslo</p>" in page
    assert "I live in Rome</p>" in page
    assert "corrected" in page
    assert "took its place" in await reader.read(f"/memories/{no}")
    assert "Rome" not in await reader.read("/memories")
    assert "Rome" in await reader.read("/memories?closed=true")


async def test_a_refused_correction_keeps_what_was_typed(reader: Reader) -> None:
    no = await kept(reader, "I live in Rome")

    refused = await reader.post(f"/memories/{no}/correct", text="Oslo " * 500)

    assert refused.status_code == 400
    assert 'role="alert"' in refused.text
    assert "Oslo Oslo" in refused.text


async def test_a_pin_is_set_and_taken_away(reader: Reader) -> None:
    no = await kept(reader, "My allergy: nuts")

    await reader.post(f"/memories/{no}/pin", pinned="1")
    assert "<b>pinned</b>" in await reader.read("/memories")
    await reader.post(f"/memories/{no}/pin", pinned="0")
    assert "<b>pinned</b>" not in await reader.read("/memories")


async def test_what_is_erased_is_on_no_page(reader: Reader) -> None:
    no = await kept(reader, "My pin is 1234")

    assert (await reader.post(f"/memories/{no}/erase")).headers["location"] == "/memories"

    assert "1234" not in await reader.read("/memories?closed=true")
    assert "1234" not in await reader.read("/memories?q=pin")
    assert "There is no such memory of yours" in await reader.read(f"/memories/{no}", 404)


async def test_everything_is_erased_only_by_who_writes_it_out(reader: Reader) -> None:
    await kept(reader, "I prefer tea")
    await kept(reader, "I live in Oslo")

    assert "2 memories" in await reader.read("/memories/erase")
    assert (await reader.post("/memories/erase", confirm="yes")).status_code == 400
    assert "I prefer tea" in await reader.read("/memories")

    assert (await reader.post("/memories/erase", confirm="erase all")).status_code == 303
    assert "Nothing is remembered of you yet." in await reader.read("/memories")


async def test_nobody_reaches_anothers(reader: Reader, cluster: Cluster) -> None:
    no = await kept(reader, "I prefer tea")
    async with await somebody(cluster) as http:
        other = Reader(http)
        assert "I prefer tea" not in await other.read("/memories?closed=true")
        assert "There is no such memory" in await other.read(f"/memories/{no}", 404)
        assert (await other.post(f"/memories/{no}/erase")).status_code == 404
    assert "I prefer tea" in await reader.read("/memories")


async def test_a_form_without_its_token_changes_nothing(reader: Reader) -> None:
    no = await kept(reader, "I prefer tea")

    refused = await reader.http.post(f"/memories/{no}/erase", data={})

    assert refused.status_code == 403
    assert "I prefer tea" in await reader.read("/memories")


async def test_a_long_list_has_pages(reader: Reader) -> None:
    words = [uuid.uuid4().hex for _ in range(52)]
    for word in words:
        await kept(reader, word)

    first = await reader.read("/memories")
    older = re.search(r'href="(/memories\?[^"]*before=\d+)"', first)

    assert older
    rest = await reader.read(older[1].replace("&amp;", "&"))
    assert [word for word in words if word in first] == words[2:]
    assert [word for word in words if word in rest] == words[:2]
