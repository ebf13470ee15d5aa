"""The same events over a WebSocket, and messages the other way."""

import json
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.client import Client
from tests.cluster import Cluster
from tests.fakes.models import expected_text

NUL = r'{"type": "message", "text": "x", "client_id": "a\u0000b"}'


def address(cluster: Cluster, conversation: str) -> str:
    return f"{cluster.url.replace('http', 'ws')}/c/{conversation}/ws"


async def until(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["type"] != kind:
        event = json.loads(await socket.recv())
        if event["type"] != "ping":
            seen.append(event)
    return seen


async def test_a_message_sent_over_the_socket_is_answered_over_it(cluster: Cluster, client: Client) -> None:
    conversation = await client.create()
    headers = {"Authorization": client.http.headers["authorization"]}
    async with connect(address(cluster, conversation), additional_headers=headers) as socket:
        message = {"type": "message", "text": "by socket [[tokens=5]]", "client_id": str(uuid4())}
        await socket.send(json.dumps(message))
        events = await until(socket, "done")
    assert "".join(e["text"] for e in events if e["type"] == "token") == expected_text(message["text"])


async def test_nonsense_over_the_socket_is_answered_with_a_problem(cluster: Cluster, client: Client) -> None:
    headers = {"Authorization": client.http.headers["authorization"]}
    async with connect(address(cluster, await client.create()), additional_headers=headers) as socket:
        for said in ("nonsense", '{"type": "dance"}', '{"type": "message", "text": ""}', NUL):
            await socket.send(said)
            problem = (await until(socket, "problem"))[-1]
            assert problem["status"] == 400


async def test_a_socket_from_another_site_or_without_login_is_refused(cluster: Cluster, client: Client) -> None:
    conversation = await client.create()
    token = client.http.headers["authorization"].removeprefix("Bearer ")
    cookie = {"Cookie": f"nexus_{cluster.port}={token}"}
    for headers in ({**cookie, "Origin": "http://evil.example"}, {}):
        with pytest.raises(InvalidStatus):
            async with connect(address(cluster, conversation), additional_headers=headers):
                pass
    async with connect(address(cluster, conversation), additional_headers=cookie | {"Origin": cluster.url}):
        pass
