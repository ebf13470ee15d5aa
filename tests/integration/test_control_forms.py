"""Forms of the control plane as a plain browser sends them: who may, once per key, and why not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx2
import pytest

from appliance.core.desired_fleet import DesiredFleet
from appliance.web.protection import cookie_name
from appliance.web.tokens import form_token
from tests.cluster import Cluster, running_cluster
from tests.steered import steered

FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/control/agents/scale", {"agents": "2"}),
    ("/control/agents/agent-1/drain", {"deadline_s": "5"}),
    ("/control/agents/agent-1/stop", {}),
    ("/control/agents/agent-1/restart", {}),
    ("/control/agents/agent-1/switchover", {}),
    ("/control/failover/pause", {}),
    ("/control/game-day/agent-1/kill", {}),
    ("/control/game-day/agent-1/freeze", {"seconds": "1"}),
)


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Cluster]:
    """Two agents whose fleet can be steered; game day is off."""
    async with running_cluster(2) as cluster, steered(cluster, 2):
        yield cluster


@asynccontextmanager
async def browser_of(cluster: Cluster, role: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser without JavaScript; its forms carry their token."""
    _, login = await cluster.sign_in(f"the {role}", role)
    token = form_token(cluster.settings.cluster_secret.get_secret_value(), login)
    async with httpx2.AsyncClient(
        base_url=cluster.url,
        cookies={cookie_name(cluster.settings): login},
        headers={"Accept": "text/html", "X-CSRFToken": token},
        timeout=30,
    ) as http:
        yield http


async def audited(cluster: Cluster, action: str) -> int:
    async with cluster.sql() as sql:
        row = await (await sql.execute("select count(*) as n from audit_log where action = %s", [action])).fetchone()
    assert row is not None
    return int(row["n"])


async def refusals(cluster: Cluster) -> int:
    async with cluster.sql() as sql:
        row = await (await sql.execute("select count(*) as n from audit_log where action like '%: refused'")).fetchone()
    assert row is not None
    return int(row["n"])


@pytest.mark.parametrize(("path", "fields"), FORMS)
async def test_a_viewer_who_forges_a_form_is_told_what_it_needs(
    own: Cluster, path: str, fields: dict[str, str]
) -> None:
    async with browser_of(own, "viewer") as http:
        answer = await http.post(path, data=fields | {"key": str(uuid4())})
    needed = "admin" if "game-day" in path else "operator"
    assert answer.status_code == 403
    assert f"This needs the role {needed}; yours is viewer." in answer.text
    assert (await DesiredFleet(own.postgres).read()).number == 2


@pytest.mark.parametrize(("path", "fields"), FORMS)
async def test_a_form_without_its_token_is_refused(own: Cluster, path: str, fields: dict[str, str]) -> None:
    async with browser_of(own, "admin") as http:
        answer = await http.post(path, data=fields | {"key": str(uuid4())}, headers={"X-CSRFToken": "forged"})
    assert answer.status_code == 403
    assert "too old or not ours" in answer.text


async def test_a_form_sent_twice_counts_once(own: Cluster) -> None:
    form = {"agents": "2", "key": str(uuid4())}
    before, version = await audited(own, "scale"), (await DesiredFleet(own.postgres).read()).version
    async with browser_of(own, "operator") as http:
        answers = [await http.post("/control/agents/scale", data=form) for _ in range(2)]
        other = await http.post("/control/agents/scale", data=form | {"agents": "3"})
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].headers["location"] == "/control/agents"
    assert (await DesiredFleet(own.postgres).read()).version == version
    assert await audited(own, "scale") == before
    assert other.status_code == 409
    assert "another request" in other.text


async def test_a_drain_sent_twice_gives_one_order(own: Cluster) -> None:
    form = {"deadline_s": "0", "key": str(uuid4())}
    before = await audited(own, "drain")
    async with browser_of(own, "operator") as http:
        said = [await http.post("/control/agents/agent-2/drain", data=form) for _ in range(2)]
        assert [answer.status_code for answer in said] == [303, 303]
        assert await audited(own, "drain") == before + 1
        restarted = await http.post("/control/agents/agent-2/restart", data={"key": str(uuid4())})
    assert restarted.status_code == 303, restarted.text
    await own.until_active(2)


@pytest.mark.parametrize(
    ("number", "why"),
    [("-1", "agents"), ("10000", "agents"), ("two", "not a whole number"), ("", "not a whole number")],
)
async def test_an_impossible_number_is_answered_with_a_sentence(own: Cluster, number: str, why: str) -> None:
    async with browser_of(own, "operator") as http:
        shown = await http.get("/control/agents/scale", params={"agents": number})
        sent = await http.post("/control/agents/scale", data={"agents": number, "key": str(uuid4())})
    assert [shown.status_code, sent.status_code] == [400, 400]
    assert why in shown.text
    assert why in sent.text


async def test_an_unknown_agent_is_answered_with_those_there_are(own: Cluster) -> None:
    async with browser_of(own, "operator") as http:
        page = await http.get("/control/agents/agent-9")
        sent = await http.post("/control/agents/agent-9/drain", data={"key": str(uuid4())})
    assert page.status_code == 404
    assert "agent-1" in page.text
    assert sent.status_code == 400
    assert "agent-1" in sent.text


async def test_a_form_without_a_key_is_refused(own: Cluster) -> None:
    async with browser_of(own, "operator") as http:
        answer = await http.post("/control/agents/scale", data={"agents": "3"})
    assert answer.status_code == 400
    assert "no key" in answer.text


async def test_under_htmx_a_form_is_answered_by_a_notice_and_a_refusal_by_its_reason(own: Cluster) -> None:
    async with browser_of(own, "operator") as http:
        htmx = {"HX-Request": "true"}
        done = await http.post("/control/agents/scale", data={"agents": "2", "key": str(uuid4())}, headers=htmx)
        refused = await http.post("/control/agents/scale", data={"agents": "x", "key": str(uuid4())}, headers=htmx)
    assert done.status_code == 200
    assert done.text.startswith('<p class="notice')
    assert "<html" not in refused.text
    assert "not a whole number" in refused.text


async def test_what_was_done_is_said_once_on_the_page_it_leads_to(own: Cluster) -> None:
    async with browser_of(own, "operator") as http:
        await http.post("/control/agents/scale", data={"agents": "2", "key": str(uuid4())})
        first, second = await http.get("/control/agents"), await http.get("/control/agents")
    assert "2 agents are wished for;" in first.text
    assert "2 agents are wished for;" not in second.text


async def test_game_day_says_how_to_turn_it_on_and_refuses_until_then(own: Cluster) -> None:
    async with browser_of(own, "admin") as http:
        page = await http.get("/control/game-day")
        before = await refusals(own)
        sent = await http.post("/control/game-day/agent-1/kill", data={"key": str(uuid4())})
    assert "GAME_DAY=true" in page.text
    assert ">kill</a>" not in page.text
    assert sent.status_code == 403
    assert "Game day is off" in sent.text
    assert await refusals(own) == before + 1, "it is audited once"


@pytest.mark.parametrize("typed", ["soon", "-1", "4000", ""])
async def test_an_impossible_deadline_is_answered_with_what_it_may_be_and_audited(own: Cluster, typed: str) -> None:
    before, (_, token) = await refusals(own), await own.sign_in("the caller", "operator")
    async with browser_of(own, "operator") as http:
        form = await http.post("/control/agents/agent-2/drain", data={"deadline_s": typed, "key": str(uuid4())})
    async with httpx2.AsyncClient(base_url=own.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        api = await http.post("/control/api/v1/agents/agent-2/drain", params={"deadline_s": typed})
    for answer in (form, api):
        assert answer.status_code == 400
        assert "a deadline has 0 to 3600 seconds." in answer.text
    assert await refusals(own) == before + 2
