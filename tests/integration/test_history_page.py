"""The failover history in a browser without JavaScript: the same data as `nexus history`."""

import msgspec

from appliance.core.history import Failover
from tests.client import Client

HTML = {"Accept": "text/html"}


async def test_the_page_and_its_json_tell_of_the_first_primary(client: Client) -> None:
    found = msgspec.convert((await client.http.get("/control/api/v1/history")).json(), list[Failover])
    assert found[-1].kind == "first"
    page = (await client.http.get("/control/history", headers=HTML)).text
    assert f"Epoch {found[0].epoch}: {found[0].old_primary or 'nobody'} → {found[0].new_primary}" in page
    for word in ("detect", "agree", "elect", "promote", "first turn", "needed", "elected", "<rect"):
        assert word in page


async def test_the_overview_leads_there(client: Client) -> None:
    assert 'href="/control/history"' in (await client.http.get("/control", headers=HTML)).text
