"""Fixtures every folder of tests uses: real stores for the session, one shared cluster, people."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from tests.client import Client
from tests.cluster import Cluster
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.models import FakeProvider
from tests.stores import Stores

Stores.durable = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure say what the programs logged last: of one on another machine nothing else is left."""
    report = yield
    if report.when == "call" and report.failed:
        report.sections += [said for cluster in Cluster.running for said in cluster.last_words()]
    return report


@pytest.fixture(scope="session")
async def stores() -> AsyncIterator[Stores]:
    """PostgreSQL and Redis for the whole session."""
    running = Stores()
    try:
        await running.start()
        yield running
    finally:
        await asyncio.to_thread(running.close)


@pytest.fixture(autouse=True)
def _databases_go_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Drop what one test alone was given: 14 MB each, hundreds of them kept the disk busy for minutes."""
    if "stores" not in request.fixturenames:
        yield
        return
    stores: Stores = request.getfixturevalue("stores")
    of_the_module = len(stores.databases)
    yield
    stores.drop(stores.databases[of_the_module:])


@pytest.fixture(scope="session")
async def provider() -> AsyncIterator[FakeProvider]:
    """A scripted model provider for the whole session."""
    async with FakeProvider() as running:
        yield running


@pytest.fixture(scope="session")
async def embedder() -> AsyncIterator[FakeEmbedder]:
    """An embedding server for the whole session, whose vectors are made of words."""
    async with FakeEmbedder() as running:
        yield running


@pytest.fixture(scope="session")
async def cluster(stores: Stores, provider: FakeProvider, embedder: FakeEmbedder) -> AsyncIterator[Cluster]:
    """Three agents behind a gateway; a test that breaks one starts it again before it ends."""
    running = Cluster(stores, provider, **embedder.environment(), MODEL_SILENCE_TIMEOUT="3", MODEL_MAX_CHARS="5000")
    try:
        await running.start(3)
        await running.start_control_plane()
        yield running
    finally:
        await running.close()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    """A signed-in person at the gateway."""
    _, token = await cluster.sign_in()
    person = Client(cluster.url, token)
    yield person
    await person.aclose()
