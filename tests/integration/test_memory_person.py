"""What a person does with memories: by commands and over JSON."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.fakes.embedder import FakeEmbedder
from tests.remembered import Person, person, remembering


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with FakeEmbedder() as embedder, remembering(1, embedder) as running:
        yield running


@pytest.fixture
async def ada(cluster: Cluster) -> AsyncIterator[Person]:
    async with person(cluster, "ada") as it:
        yield it


async def test_commands_remember_list_correct_and_erase(ada: Person) -> None:
    kept = await ada.say("/remember I prefer green tea")
    assert kept["text"].startswith("Remembered as memory 1 (preference).")
    assert (await ada.say("/remember i prefer  GREEN tea."))["text"].startswith("That is memory 1 already.")
    assert (await ada.say("/memories"))["text"].startswith(
        "- **1** I prefer green tea (preference; [you asked for it, "
    )
    assert f"](/c/{kept['in']}#n1)" in (await ada.say("/memories"))["text"]
    assert (await ada.say("/correct 1 I prefer black tea"))["text"].startswith("Memory 1 is corrected: it is memory 2")
    assert (await ada.say("/correct 1 I prefer Black tea"))["text"].startswith("Memory 1 is corrected: it is memory 2")
    assert (await ada.say("/correct 1 I prefer milk"))["text"].endswith("memory 2 took its place; correct that one.")
    assert (await ada.say("/memories green"))["text"].count("**2**") <= 1
    assert (await ada.say("/erase 9"))["text"].startswith("There is no such memory of yours")
    assert (await ada.say("/erase 2"))["text"].startswith("Memory 2 is erased, with all it grew from.")
    assert (await ada.say("/memories"))["text"].startswith("Nothing is remembered of you.")


async def test_everything_is_erased_only_by_who_says_so_twice(ada: Person) -> None:
    await ada.say("/remember I prefer green tea")
    await ada.say("/remember I have two dogs")
    assert "`/erase all yes`" in (await ada.say("/erase all"))["text"]
    assert len((await ada.http.get("/api/v1/memories")).json()["memories"]) == 2
    assert (await ada.say("/erase all yes"))["text"].startswith("Nothing is remembered of you any more.")
    assert (await ada.http.get("/api/v1/memories")).json()["memories"] == []


async def test_a_command_that_cannot_be_is_refused_before_anything_is_kept(ada: Person) -> None:
    conversation = await ada.client.create()
    for wrong in ("/remember", "/erase three", "/correct 3"):
        answer = await ada.http.post(f"/api/v1/conversations/{conversation}/messages", json={"text": wrong})
        assert (answer.status_code, "`/" in answer.json()["detail"]) == (400, True)
    assert (await ada.client.transcript(conversation))["messages"] == []


async def test_programs_keep_show_correct_pin_export_and_erase_over_json(ada: Person) -> None:
    made = (await ada.http.post("/api/v1/memories", json={"text": "I prefer green tea", "topics": ["tea"]})).json()
    assert (made["no"], made["type"], made["origin"]["source"]) == (1, "preference", "page")
    fixed = await ada.http.post(f"/api/v1/memories/{made['id']}/correction", json={"text": "I prefer black tea"})
    assert (fixed.status_code, fixed.json()["no"]) == (200, 2)
    assert (await ada.http.post("/api/v1/memories/2/pin", json={"pinned": True})).json()["pinned"] is True
    seen = (await ada.http.get("/api/v1/memories/2")).json()
    assert [it["text"] for it in seen["chain"]] == ["I prefer green tea", "I prefer black tea"]
    assert (len(seen["sources"]), seen["link"]) == (1, "")
    listed = (await ada.http.get("/api/v1/memories", params={"topic": "tea", "type": "preference"})).json()
    assert [it["no"] for it in listed["memories"]] == [2]
    exported = await ada.http.get("/api/v1/memories/export")
    assert [it["no"] for it in exported.json()] == [1, 2]
    assert "memories.json" in exported.headers["content-disposition"]
    assert (await ada.http.delete("/api/v1/memories/2")).status_code == 204
    assert (await ada.http.get("/api/v1/memories/1")).status_code == 404
    assert (await ada.http.get("/api/v1/memories/export")).json() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "why"),
    [
        ("POST", "", {"text": " "}, 400, "There is nothing to remember"),
        ("POST", "", {"text": "x", "type": "rumour"}, 400, ""),
        ("POST", "/erase-all", {"confirm": "yes"}, 400, '"confirm": "erase all"'),
        ("POST", "/77/correction", {"text": "x"}, 404, "There is no such memory of yours"),
        ("POST", "/nonsense/pin", {"pinned": True}, 404, "There is no such memory of yours"),
        ("DELETE", "/77", None, 404, "There is no such memory of yours"),
    ],
)
async def test_what_cannot_be_is_refused_over_json_too(
    ada: Person, method: str, path: str, body: dict[str, Any] | None, status: int, why: str
) -> None:
    answer = await ada.http.request(method, f"/api/v1/memories{path}", json=body)
    assert answer.status_code == status, answer.text
    assert why in answer.json()["detail"]


async def test_everything_is_erased_over_json_by_who_says_so(ada: Person) -> None:
    await ada.http.post("/api/v1/memories", json={"text": "I prefer green tea"})
    assert (await ada.http.post("/api/v1/memories/erase-all", json={"confirm": "erase all"})).json() == {"erased": 1}
    assert (await ada.http.get("/api/v1/memories/export")).json() == []
