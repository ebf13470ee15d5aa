"""Vectors that were asked for before: at hand, in a real Redis, and forgotten on purpose."""

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from appliance.core import clock
from appliance.core.embeddings import cache
from appliance.core.errors import StoreAway
from appliance.core.keys import Keys
from appliance.core.redis import Redis
from appliance.core.vectors import floats
from tests.fakes.embedder import MODEL, FakeEmbedder
from tests.integration.conftest import MakeEmbedder as Make
from tests.stores import Stores

CAT, DOG = "The cat sleeps on the warm stove.", "Our dog barks at every postman."


@pytest.fixture
async def redis(stores: Stores) -> AsyncIterator[Redis]:
    """A runner's own Redis user, under keys that no other test has."""
    it = Redis(stores.settings("runner", redis_key_prefix=f"t{uuid4().hex[:6]}:"))
    yield it
    await it.aclose()


async def test_a_text_is_asked_for_once_by_all_processes(make: Make, embedder: FakeEmbedder, redis: Redis) -> None:
    one, other = make(redis), make(redis)
    [first, again] = await one.embed([CAT, CAT])
    assert first == again
    assert await other.embed([CAT]) == [first]
    assert await other.embed([CAT, DOG]) == [first, (await one.embed([DOG]))[0]]
    assert embedder.texts == [f"passage: {CAT}", f"passage: {DOG}"]
    await make().embed([CAT])
    assert len(embedder.texts) == 3, "without Redis a process knows only its own"


async def test_what_is_kept_has_an_end_and_tells_no_word(
    make: Make, redis: Redis, stores: Stores, embedder: FakeEmbedder
) -> None:
    await make(redis, embedding_cache_ttl=600).embed([CAT])
    admin = Redis(stores.settings(redis_key_prefix=redis.keys.prefix))
    [key] = [it async for it in admin.data.scan_iter(f"{redis.keys.prefix}*")]
    digest = hashlib.sha256(f"passage: {CAT}".encode()).hexdigest()
    assert key == Keys(redis.keys.prefix).embedding(MODEL, digest)
    assert 590 < await admin.data.ttl(key) <= 600
    await make(redis, embedding_cache_ttl=0).embed([CAT])
    assert len(embedder.texts) == 2, "with 0 Redis is not asked"
    await admin.aclose()


async def test_forgetting_reaches_questions_and_passages_here_and_in_redis(
    make: Make, embedder: FakeEmbedder, redis: Redis
) -> None:
    it = make(redis)
    for query in (True, False):
        await it.embed([CAT, DOG], query=query)
    await it.forget([CAT, "", "never seen"])
    embedder.asked.clear()
    for query in (True, False):
        await it.embed([CAT, DOG], query=query)
        await make(redis).embed([DOG], query=query)
    assert embedder.texts == [f"query: {CAT}", f"passage: {CAT}"]


async def test_what_another_process_has_at_hand_it_forgets_by_itself(
    make: Make, embedder: FakeEmbedder, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make(redis), make(redis)
    await one.embed([CAT])
    await other.embed([CAT])
    await one.forget([CAT])
    await other.embed([CAT])
    assert len(embedder.asked) == 1
    now = clock.monotonic()
    monkeypatch.setattr(cache, "monotonic", lambda: now + cache.AT_HAND_S + 1)
    await other.embed([CAT])
    assert len(embedder.asked) == 2


async def test_a_process_keeps_a_bounded_number_at_hand(
    make: Make, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "AT_HAND", 2)
    it = make()
    await it.embed(["one", "two"])
    await it.embed(["one"])
    await it.embed(["three"])
    embedder.asked.clear()
    await it.embed(["one"])
    assert embedder.asked == [], "used last, kept longest"
    await it.embed(["two"])
    assert embedder.texts == ["passage: two"]


async def test_vectors_of_another_model_under_the_same_name_are_not_mixed_in(
    make: Make, embedder: FakeEmbedder, redis: Redis
) -> None:
    await make(redis).embed([CAT])
    embedder.dims = 512
    vectors = await make(redis).embed([CAT, DOG])
    assert {len(floats(it)) for it in vectors} == {512}
    assert {len(floats(it)) for it in await make(redis).embed([CAT, DOG])} == {512}


async def test_rubbish_in_redis_is_asked_for_anew(make: Make, embedder: FakeEmbedder, redis: Redis) -> None:
    digest = hashlib.sha256(f"passage: {CAT}".encode()).hexdigest()
    await redis.data.set(redis.keys.embedding(MODEL, digest), b"rubbish", ex=60)
    [it] = await make(redis).embed([CAT])
    assert len(floats(it)) == 384
    assert await make(redis).embed([CAT]) == [it]


async def test_without_redis_texts_become_vectors_all_the_same(
    make: Make, embedder: FakeEmbedder, stores: Stores, redis: Redis
) -> None:
    away = Redis(stores.settings(redis_url="redis://127.0.0.1:1"))
    it = make(away)
    [vector] = await it.embed([CAT])
    assert await it.embed([CAT]) == [vector]
    assert len(embedder.asked) == 1, "kept at hand"
    with pytest.raises(StoreAway):
        await it.forget([CAT])
    await away.aclose()


async def test_a_redis_that_hangs_is_waited_for_once(
    make: Make, redis: Redis, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "PAUSE_S", 60.0)
    it = make(redis)
    stores.signal("redis", signal.SIGSTOP)
    try:
        began = asyncio.get_running_loop().time()
        for number in range(20):
            await it.embed([f"fact {number}"])
        assert asyncio.get_running_loop().time() - began < 20 * 2, "each would wait for two seconds"
    finally:
        stores.signal("redis", signal.SIGCONT)
