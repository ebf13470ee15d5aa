"""What modules of tests share: a database of their own, runners with tools, a person."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from appliance.core.embeddings import HttpEmbedder
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from tests.asked import signed_in, tooled
from tests.boards import Boarded
from tests.boxes import marked_sleep
from tests.client import Client
from tests.fakes.embedder import MODEL, FakeEmbedder
from tests.fakes.models import FakeProvider
from tests.fakes.outside import Outside, outside
from tests.indexes import Library
from tests.memories import Rememberer
from tests.runners import Runners
from tests.stores import Stores

MakeEmbedder = Callable[..., HttpEmbedder]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/integration" in str(item.path):
            item.add_marker(pytest.mark.integration)


@pytest.fixture
async def config(stores: Stores) -> Settings:
    """Settings with an empty database."""
    return await stores.with_own_database()


@pytest.fixture
async def postgres(config: Settings) -> AsyncIterator[Postgres]:
    """Its pool."""
    pool = Postgres(config, application="test")
    await pool.open()
    yield pool
    await pool.aclose()


@pytest.fixture
async def people(config: Settings, postgres: Postgres) -> Rememberer:
    """Two people who may have memories."""
    return await Rememberer(config, postgres).open()


@pytest.fixture
async def library(stores: Stores, config: Settings, postgres: Postgres, people: Rememberer) -> AsyncIterator[Library]:
    """Their index."""
    opened = await Library(stores, config, postgres, people).open()
    yield opened
    await opened.aclose()


@pytest.fixture
def sleeper() -> Iterator[tuple[str, str]]:
    """A command that sleeps for years, and the mark by which it is found."""
    with marked_sleep() as made:
        yield made


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Outside]:
    """What the tools of `two` act on."""
    async with outside() as running:
        yield running


@pytest.fixture(scope="module")
async def two(stores: Stores, provider: FakeProvider, service: Outside) -> AsyncIterator[Runners]:
    """Two runners with tools, the first of them primary; modules that want others have a `two` of their own."""
    async with tooled(stores, provider, service) as running:
        yield running


@pytest.fixture
async def person(two: Runners | Boarded[Runners]) -> AsyncIterator[Client]:
    """Somebody at the gateway of `two`."""
    async with signed_in(two.cluster if isinstance(two, Boarded) else two) as client:
        yield client


@pytest.fixture
async def make(stores: Stores, embedder: FakeEmbedder) -> AsyncIterator[MakeEmbedder]:
    """Make clients of the fake server."""
    async with AsyncExitStack() as stack:
        await embedder.reset()

        def made(redis: Redis | None = None, **more: Any) -> HttpEmbedder:
            known = {"embedding_url": embedder.url, "embedding_model": MODEL}
            it = HttpEmbedder(stores.settings(**known | more), redis)
            stack.push_async_callback(it.aclose)
            return it

        yield made
        await embedder.reset()
