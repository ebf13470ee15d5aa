"""A cluster at work under a real Prometheus: turns of every outcome, one failover."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from appliance.embedded.prometheus import RULES, SOURCES, configuration
from tests.client import Client, follow_to_the_end
from tests.cluster import Cluster, running_cluster
from tests.fakes.embedder import FakeEmbedder
from tests.ports import free_port
from tests.waiting import wait_until

TEST_WITHIN_S = 300
MESSAGES = (
    "hello [[tokens=20 delay=5ms]]", "story [[tokens=60 delay=20ms]]", "broken [[status=400]]",
    "/multi Go\n- builder: build [[tokens=20 delay=5ms]]\n- reviewer (after builder): look [[tokens=5]]",
    "/remind in 1 second look again",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/dashboards" in str(item.path):
            item.add_marker(pytest.mark.dashboards)
            item.add_marker(pytest.mark.timeout(TEST_WITHIN_S))


class Prometheus:
    """A real one, on the configuration of the product, that looks more often."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        addresses = {
            "control-plane:8081": f"127.0.0.1:{cluster.control_port}",
            "gateway:8082": f"127.0.0.1:{cluster.gateway_metrics_port}",
            "localhost:9090": f"127.0.0.1:{self.port}",
        }
        text = configuration(addresses, {f"- {rule}": f"- {SOURCES / rule}" for rule in RULES})
        (folder / "prometheus.yml").write_text(text.replace(": 5s", ": 1s").replace(": 4s", ": 1s"))
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it has asked everybody."""
        command = ["prometheus", f"--config.file={self._folder / 'prometheus.yml'}", "--log.level=warn"]
        command += [f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(command, process_group=0)

        async def all_up() -> bool:
            return len(await self.query("up == 1")) == 6

        await wait_until(all_up, of="Prometheus' view of three agents, control plane, gateway and itself")

    async def get(self, path: str, **params: str) -> Any:
        """Ask its API; fails with its words when it does not understand."""
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/api/v1/") as http:
            answer = await http.get(path, params=params)
        if answer.status_code == 503:
            answer.raise_for_status()  # it still starts
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series that `expr` has now."""
        found = (await self.get("query", query=expr))["result"]
        return found if isinstance(found, list) else []

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()


async def _talk(cluster: Cluster, person: Client) -> None:
    """Ask again and again, in conversations of one's own, and look at the pages; whatever fails, go on."""
    number = 0
    while True:
        with contextlib.suppress(httpx2.HTTPError, AssertionError, TimeoutError):
            conversation = await person.create()
            accepted = await person.send(conversation, MESSAGES[number % len(MESSAGES)])
            if number % 7 == 6:
                await person.http.post(f"/api/v1/conversations/{conversation}/turns/{accepted['turn']}/cancel")
            async with asyncio.timeout(20):
                await follow_to_the_end(person, conversation, accepted["turn"], accepted["cursor"])
            await person.http.get("/control")
        number += 1


async def _fail_over(cluster: Cluster) -> None:
    """Kill the primary in the middle of answers and start it again."""
    lost = (await cluster.view()).primary_id
    assert lost is not None
    await cluster.kill(lost)

    async def replaced() -> bool:
        return (await cluster.view()).primary_id not in (None, lost)

    await wait_until(replaced, of="another primary")
    cluster.start_agent(lost)
    await cluster.until_active(3)


@pytest.fixture(scope="module")
async def prometheus() -> AsyncIterator[Prometheus]:
    """Prometheus over a cluster that talks until the end of these tests; a failover lies behind it."""
    if not shutil.which("prometheus"):
        pytest.skip("Prometheus is missing: apt install prometheus")
    folder = Path(tempfile.mkdtemp(prefix="nexus-prometheus-"))
    async with (
        FakeEmbedder() as embedder,
        running_cluster(3, CLUSTER_MAX_LOAD="2", **embedder.environment()) as cluster,
    ):
        await cluster.start_control_plane()
        people = [
            Client(cluster.url, (await cluster.sign_in(name, "admin"))[1]) for name in ("ada", "bob", "cyd", "dan")
        ]
        talks = [asyncio.create_task(_talk(cluster, person)) for person in people]
        running = Prometheus(cluster, folder)
        try:
            await running.start()
            await _fail_over(cluster)
            yield running
        finally:
            for talk in talks:
                talk.cancel()
            # One after the other: what still ends a request would open its connection behind a client that is closed.
            await asyncio.gather(*talks, return_exceptions=True)
            await asyncio.gather(*(person.aclose() for person in people), return_exceptions=True)
            running.stop()
            shutil.rmtree(folder)
