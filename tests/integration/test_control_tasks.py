"""Tasks through the control plane, as JSON, forms and live pages: who may what, once per key, and why not."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from appliance.core.postgres import Postgres
from appliance.core.working_memory import Past, SubAgent, Summary, WorkingMemory
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider
from tests.letters import Letters
from tests.stores import Stores
from tests.visitors import API, browser, program
from tests.waiting import wait_until


@pytest.fixture(scope="module")
async def own(stores: Stores, provider: FakeProvider) -> AsyncIterator[Cluster]:
    """A control plane without agents, on a database of its own."""
    config = await stores.with_own_database()
    cluster = Cluster(stores, provider, POSTGRES_URL=config.postgres_url)
    cluster.settings = cluster.settings.model_copy(update={"postgres_url": config.postgres_url})
    cluster.postgres = Postgres(cluster.settings, application="test")
    try:
        await cluster.postgres.open()
        await cluster.start_control_plane()
        yield cluster
    finally:
        await cluster.close()


@pytest.fixture
async def letters(own: Cluster) -> Letters:
    found = Letters(own.postgres)
    await found.open()
    return found


async def state(letters: Letters, task: UUID) -> object:
    return (await letters.row(task))["state"]


async def test_a_program_lists_filters_and_pages(own: Cluster, letters: Letters) -> None:
    kind = f"k{uuid4().hex[:6]}"
    ids = await letters.put_up(5, kind=kind)
    async with program(own, "viewer") as http:
        first = (await http.get(f"{API}/tasks", params={"kind": kind, "limit": 3})).json()
        rest = (await http.get(f"{API}/tasks", params={"kind": kind, "limit": 3, "after": first["next"]})).json()
        none = (await http.get(f"{API}/tasks", params={"kind": kind, "state": "dead"})).json()
    assert {it["id"] for it in first["tasks"] + rest["tasks"]} == set(map(str, ids))
    assert (len(first["tasks"]), rest["next"], none["tasks"]) == (3, None, [])
    assert [it["priority"] for it in first["priorities"]] == ["high", "normal", "low"]


async def test_a_program_reads_a_task_with_its_timeline_by_the_beginning_of_its_id(
    own: Cluster, letters: Letters
) -> None:
    [id_] = await letters.dead()
    async with program(own, "viewer") as http:
        seen = (await http.get(f"{API}/tasks/{id_.hex[:12]}")).json()
    assert seen["line"]["id"] == str(id_)
    assert seen["line"]["no_requeue"] == ""
    assert [it["kind"] for it in seen["moments"]][:3] == ["published", "claimed", "failed"]


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("tasks?state=asleep", 400, "There is no state"), ("tasks?after=x", 400, "no cursor of ours"),
        ("tasks?limit=0", 400, ""), ("tasks?limit=501", 400, ""), ("tasks/xyz", 400, "not the id of a task"),
        (f"tasks/{UUID(int=5)}", 404, "There is no task"), ("conversations/x", 400, "not an id"),
        (f"conversations/{UUID(int=5)}", 404, "no such conversation"), ("tasks?oldest=perhaps", 400, ""),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_said_so(own: Cluster, path: str, status: int, why: str) -> None:
    async with program(own) as http:
        answer = await http.get(f"{API}/{path}")
    assert answer.status_code == status, answer.text
    assert why in answer.json()["detail"]


async def test_a_program_cancels_requeues_and_discards(own: Cluster, letters: Letters) -> None:
    [waiting], [dead, other] = await letters.put_up(), await letters.dead(2)
    async with program(own) as http:
        said = [
            (await http.post(f"{API}/tasks/{waiting}/cancel", json={})).json(),
            (await http.post(f"{API}/tasks/{dead}/requeue", json={"payload": {"path": "é.png"}})).json(),
            (await http.post(f"{API}/tasks/{other}/discard", json={"reason": "ours"})).json(),
        ]
    assert [it["done"] for it in said] == [1, 1, 1]
    assert [await state(letters, it) for it in (waiting, dead, other)] == ["cancelled", "queued", "cancelled"]
    assert (await letters.row(dead))["payload"] == {"path": "é.png"}


async def test_a_program_acts_on_many_and_is_told_what_was_refused(own: Cluster, letters: Letters) -> None:
    dead, [queued] = await letters.dead(3), await letters.put_up()
    ids, key = [*map(str, [*dead, queued])], str(uuid4())
    async with program(own) as http:
        said = [
            (await http.post(f"{API}/tasks/requeue", json={"ids": ids}, headers={"Idempotency-Key": key})).json()
            for _ in range(2)
        ]
        kind = f"k{uuid4().hex[:6]}"
        await letters.dead(2, kind=kind)
        everything = (await http.post(f"{API}/tasks/discard", json={"all_dead": True, "kind": kind})).json()
        nothing = await http.post(f"{API}/tasks/requeue", json={})
    assert said[0] == said[1]
    assert (said[0]["done"], said[0]["why"]) == (3, {"It is queued: only what is dead can be requeued.": 1})
    assert everything["done"] == 2
    assert (nothing.status_code, "tick at least one" in nothing.text) == (400, True)


@pytest.mark.parametrize("act", ["cancel", "requeue", "discard"])
async def test_a_viewer_reads_and_does_nothing(own: Cluster, letters: Letters, act: str) -> None:
    [id_] = await letters.dead()
    async with program(own, "viewer") as http, browser(own, "viewer") as plain:
        answers = [
            await http.post(f"{API}/tasks/{id_}/{act}", json={}),
            await http.post(f"{API}/tasks/{act}", json={"ids": [str(id_)]}),
            await plain.get(f"/control/tasks/{id_}/{act}"),
            await plain.post(f"/control/tasks/{id_}/{act}", data={"key": str(uuid4())}),
            await plain.get(f"/control/dead/{act}", params={"id": str(id_)}),
            await plain.post(f"/control/dead/{act}", data={"key": str(uuid4()), "id": str(id_)}),
        ]
        pages = [await plain.get(it) for it in (f"/control/tasks/{id_}", "/control/tasks", "/control/dead")]
    assert {it.status_code for it in answers} == {403}
    assert all("This needs the role operator; yours is viewer." in it.text for it in answers)
    assert await state(letters, id_) == "dead"
    assert all(it.status_code == 200 and "/requeue" not in it.text and "checkbox" not in it.text for it in pages)


async def test_what_is_refused_is_said_with_its_reason(own: Cluster, letters: Letters) -> None:
    [id_] = await letters.put_up()
    async with program(own) as http, browser(own) as plain:
        for path in (f"{API}/tasks/{id_}/requeue", f"{API}/tasks/{id_}/discard"):
            answer = await http.post(path, json={})
            assert (answer.status_code, "It is queued: only what is dead" in answer.text) == (409, True)
        shown = await plain.get(f"/control/tasks/{id_}/requeue")
        unknown = await plain.get(f"/control/tasks/{id_}/explode")
        dead = await plain.get("/control/dead/cancel", params={"id": str(id_)})
    assert (shown.status_code, "only what is dead can be requeued" in shown.text) == (409, True)
    assert [unknown.status_code, dead.status_code] == [404, 404]


async def test_a_dead_task_is_edited_and_requeued_by_a_plain_form(own: Cluster, letters: Letters) -> None:
    [id_] = await letters.dead()
    form = {"key": str(uuid4()), "payload": '{"n": 7}'}
    async with browser(own) as http:
        shown = await http.get(f"/control/tasks/{id_}/requeue")
        bad = await http.post(f"/control/tasks/{id_}/requeue", data=form | {"payload": "[7]", "key": str(uuid4())})
        sent = [await http.post(f"/control/tasks/{id_}/requeue", data=form) for _ in range(2)]
        after = await http.get(sent[0].headers["location"])
    assert "&#34;n&#34;: 0" in shown.text
    assert (bad.status_code, "has to be a JSON object" in bad.text) == (400, True)
    assert [it.status_code for it in sent] == [303, 303]
    assert (await letters.row(id_))["payload"] == {"n": 7}
    assert "1 task requeued." in after.text
    assert "the operator: requeue task" in after.text


async def test_those_ticked_are_shown_before_it_is_done_to_them(own: Cluster, letters: Letters) -> None:
    kind = f"k{uuid4().hex[:6]}"
    first, second, third = await letters.dead(3, kind=kind)
    async with browser(own) as http:
        listed = await http.get("/control/dead", params={"kind": kind})
        shown = await http.get("/control/dead/requeue", params={"id": [str(first), str(second)]})
        none = await http.get("/control/dead/requeue")
        form = {"key": str(uuid4()), "id": [str(first), str(second)]}
        await http.post("/control/dead/requeue", data=form)
    assert listed.text.count('type="checkbox"') == 3
    assert "Requeue 2 dead tasks" in shown.text
    assert f"nexus requeue {first.hex[:8]} {second.hex[:8]}" in shown.text
    assert (none.status_code, "tick at least one" in none.text) == (400, True)
    assert [await state(letters, it) for it in (first, second, third)] == ["queued", "queued", "dead"]


async def test_all_of_a_kind_are_those_that_were_dead_when_the_form_was_shown(own: Cluster, letters: Letters) -> None:
    kind = f"k{uuid4().hex[:6]}"
    [before] = await letters.dead(kind=kind)
    async with browser(own) as http:
        shown = await http.get("/control/dead/requeue", params={"everything": "true", "kind": kind})
        until = shown.text.split('name="until" value="')[1].split('"')[0]
        [later] = await letters.dead(kind=kind)
        form = {"key": str(uuid4()), "until": until, "kind": kind}
        done = await http.post("/control/dead/requeue", data=form, headers={"HX-Request": "true"})
        wrong = await http.post("/control/dead/requeue", data=form | {"until": "soon", "key": str(uuid4())})
    assert "1 task requeued." in done.text
    assert [await state(letters, it) for it in (before, later)] == ["queued", "dead"]
    assert (wrong.status_code, "no moment" in wrong.text) == (400, True)


async def test_what_people_wrote_is_text_on_every_page(own: Cluster, letters: Letters) -> None:
    turn = await letters.turn("<script>alert(1)</script>")
    [id_] = await letters.dead(kind="<b>", why="<i>")
    async with browser(own) as http:
        for path in (
            f"/control/tasks/{turn.id}", f"/control/conversations/{turn.conversation_id}", f"/control/tasks/{id_}",
            "/control/tasks", "/control/dead", "/control/tasks?kind=%3Cb%3E&person=the+operator",
        ):  # fmt: skip
            page = (await http.get(path)).text
            assert "<script>alert" not in page
            assert "<i> 3" not in page
            assert "<b> <code>" not in page


async def test_a_conversation_shows_who_has_it_and_what_is_at_hand_of_it(own: Cluster, letters: Letters) -> None:
    turn = await letters.turn("Where is Ulm?")
    page, read = f"/control/conversations/{turn.conversation_id}", f"{API}/conversations/{turn.conversation_id}/session"
    async with program(own, "viewer") as http:
        assert (await http.get(read)).json()["session"] is None
    memory = WorkingMemory(own.redis, own.postgres, ttl_s=60, window=8192)
    past = Past().with_turn(turn, "On the Danube.")
    await memory.begin(turn, Past(), agent="agent-7", tools=("remind", "web_fetch"))
    await memory.note_team(turn, {"scout": SubAgent("running", output_key=turn.id)})
    await memory.remember(turn, past, agent="agent-7", model="a-model")
    await memory.summarise(turn, Summary(1, "<script>alert(1)</script>", "a-writer"))
    async with program(own, "viewer") as http, browser(own, "viewer") as person:
        seen, shown = (await http.get(read)).json(), (await person.get(page)).text
        await own.redis.data.delete(own.redis.keys.session(turn.conversation_id))
        lost = (await person.get(page)).text
    assert seen["session"]["sub_agents"] == {"scout": {"status": "running", "model": "", "output_key": turn.id}}
    assert seen["summary"] == seen["session"]["summary"] == {
        "upto_turn": 1, "text": "<script>alert(1)</script>", "model": "a-writer",
    }  # fmt: skip
    for words in ("agent-7", "a-model", "remind, web_fetch", ">scout</a> running", f"about {past.tokens}", "a-writer"):
        assert words in shown
    assert "<script>alert" not in shown
    assert ("agent-7" in lost, "Summary up to turn 1" in lost) == (False, True)


async def test_a_list_keeps_itself_up_to_date_with_its_own_filter(own: Cluster, letters: Letters) -> None:
    kind = f"k{uuid4().hex[:6]}"
    async with browser(own) as http, http.stream("GET", "/control/tasks/live", params={"kind": kind}) as answer:
        seen: list[str] = []
        told = answer.aiter_lines()

        async def shows(words: str) -> bool:
            seen.append(await anext(told))
            return words in seen[-1]

        await wait_until(lambda: shows("Nothing fits this filter"), of="an empty list")
        [id_] = await letters.put_up(kind=kind)
        await letters.put_up(kind="other")
        await wait_until(lambda: shows(f"task-{id_}"), of="the new task")
    assert not any(">other " in line for line in seen)


async def test_a_task_is_followed_to_its_end(own: Cluster, letters: Letters) -> None:
    [id_] = await letters.put_up()
    async with browser(own) as http, http.stream("GET", f"/control/tasks/{id_}/live") as answer:
        told = answer.aiter_lines()

        async def shows(words: str) -> bool:
            return words in await anext(told)

        await wait_until(lambda: shows("waits for an agent"), of="the beginning")
        await letters.end(await letters.take([id_]))
        await wait_until(lambda: shows("&#34;by&#34;: 1"), of="the result")


async def test_what_an_operator_did_stands_in_the_audit_log(own: Cluster, letters: Letters) -> None:
    [id_] = await letters.dead()
    async with program(own) as http:
        await http.post(f"{API}/tasks/{id_}/requeue", json={"payload": {"secret": "of ada"}})
        await http.post(f"{API}/tasks/{id_}/discard", json={})
        log: list[dict[str, Any]] = (await http.get(f"{API}/audit", params={"subject": str(id_)})).json()
    assert [(it["actor"], it["action"]) for it in log] == [
        ("the operator", "discard task: refused"), ("the operator", "requeue task"),
    ]  # fmt: skip
    assert log[1]["detail"]["payload"] == "edited"
    assert "of ada" not in str(log), "what cannot be erased keeps no payload"


async def test_what_nobody_can_do_says_so_in_lists_and_on_its_page(own: Cluster, letters: Letters) -> None:
    [id_] = await letters.put_up(kind=f"k{uuid4().hex[:6]}", needs=("gpu", "web"))
    why = "No agent can do it: needs gpu, web."
    async with browser(own, "viewer") as http:
        page, listed = (await http.get(f"/control/tasks/{id_}")).text, (await http.get("/control/tasks")).text
        seen = (await http.get(f"{API}/tasks/{id_}", headers={"Accept": "application/json"})).json()
    assert (why in page, why in listed, "<dt>Needs</dt>" in page) == (True, True, True)
    assert (seen["line"]["needs"], seen["line"]["no_agent"]) == (["gpu", "web"], why)
    assert seen["moments"][0]["what"] == "published by ada, for an agent that has gpu, web"
    await letters.batches.declare(letters.boot, ["web", "gpu"])
    async with browser(own, "viewer") as http:
        assert why not in (await http.get(f"/control/tasks/{id_}")).text
    await letters.batches.declare(letters.boot, [])
