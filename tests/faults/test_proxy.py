"""The fault proxy does what its verbs say, against a real Redis: a wrong fault would prove nothing."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from appliance.core.clock import monotonic
from appliance.core.errors import StoreAway
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from tests.faults.proxy import Proxy, Weather
from tests.faults.replies import Replies, frame_end, words
from tests.stores import Stores
from tests.waiting import wait_until

SHORT_S = 0.2


def client_of(stores: Stores, url: str, **more: Any) -> Any:
    """A client with one connection that retries nothing."""
    settings = stores.settings()
    return aioredis.Redis.from_url(
        url, username=settings.redis_user, password=settings.redis_password.get_secret_value(),
        decode_responses=True, single_connection_client=True, retry=Retry(NoBackoff(), 0), **more,
    )  # fmt: skip


@pytest.fixture
def rules() -> Replies:
    return Replies()


@pytest.fixture
async def proxy(stores: Stores, rules: Replies) -> AsyncIterator[Proxy]:
    async with Proxy(stores.urls["redis_url"], seed=7, watch=rules.watch) as running:
        yield running


@pytest.fixture
async def near(stores: Stores) -> AsyncIterator[Any]:
    """Redis itself, and no key left behind."""
    async with client_of(stores, stores.urls["redis_url"]) as client:
        yield client
        await client.delete("near")


@pytest.fixture
async def far(stores: Stores, proxy: Proxy, near: Any) -> AsyncIterator[Any]:
    """Redis through the proxy, on one connection; it is ended before the proxy is."""
    client = client_of(stores, proxy.url, socket_timeout=10)
    await client.ping()
    yield client
    with suppress(RedisConnectionError):
        await client.aclose()


async def silent(answer: "asyncio.Task[Any]") -> bool:
    """Whether nothing comes for a while."""
    done, _ = await asyncio.wait([answer], timeout=SHORT_S)
    return not done


async def test_what_is_passed_on_arrives_whole(far: Any) -> None:
    large = random.Random(1).randbytes(3_000_000).hex()
    await far.set("near", large)
    assert await far.get("near") == large


async def test_a_delay_comes_on_top_each_way_and_keeps_the_order(proxy: Proxy, far: Any) -> None:
    await proxy.delay(50, jitter_ms=30)
    began = monotonic()
    assert [await far.rpush("near", number) for number in range(3)] == [1, 2, 3]
    assert monotonic() - began >= 3 * 2 * 0.05


def test_the_same_seed_draws_the_same_jitter() -> None:
    weather = Weather(delay_s=0.1, jitter_s=0.1)
    first, again, other = ([weather.lag(random.Random(seed)) for _ in range(3)] for seed in ("7:1", "7:1", "8:1"))
    assert first == again != other


def test_what_is_lost_is_sent_again_later_and_later() -> None:
    phases = random.Random(1)
    lags = [Weather(loss=0.3).lag(phases) for _ in range(10_000)]
    shares = {late: round(lags.count(late) / len(lags), 2) for late in (0.0, 0.2, 0.2 + 0.4)}
    assert shares == {0.0: 0.7, 0.2: 0.21, 0.2 + 0.4: 0.06}


async def test_what_is_dropped_arrives_when_the_network_is_back(proxy: Proxy, far: Any, near: Any) -> None:
    await proxy.drop()
    answer = asyncio.create_task(far.incr("near"))
    assert await silent(answer)
    assert await near.get("near") is None
    await proxy.pass_on()
    assert await answer == 1


async def test_one_way_carries_requests_out_without_an_answer(proxy: Proxy, far: Any, near: Any) -> None:
    await proxy.one_way()
    answer = asyncio.create_task(far.incr("near"))
    await wait_until(lambda: near.get("near"), of="the request at Redis")
    assert await silent(answer)
    await proxy.pass_on()
    assert await answer == 1


async def test_a_death_behind_a_dropped_link_is_not_told() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Proxy(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.drop()
        writer.transport.abort()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ended.wait(), SHORT_S)
        await proxy.pass_on()
        await asyncio.wait_for(ended.wait(), 10)
    server.close()


async def test_reset_ends_connections_on_both_sides_and_lets_new_ones_in(proxy: Proxy, far: Any, near: Any) -> None:
    number = await far.client_id()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"PING\r\n")
    assert (await reader.readline()).startswith(b"-NOAUTH")
    await proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()

    async def gone() -> bool:
        return number not in {int(client["id"]) for client in await near.client_list()}

    await wait_until(gone, of="the end of the connection at Redis")
    with pytest.raises(RedisConnectionError):
        await far.ping()
    assert await far.ping(), "a new connection is as good as any"


async def test_refuse_keeps_new_connections_out_only_and_the_port_for_itself(proxy: Proxy, far: Any) -> None:
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await far.ping()
    await proxy.pass_on()
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.close()


async def test_a_target_that_is_away_resets() -> None:
    async with Proxy("tcp://127.0.0.1:1") as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_messages_are_dropped_and_nothing_else(
    stores: Stores, proxy: Proxy, rules: Replies, near: Any, protocol: int
) -> None:
    async with client_of(stores, proxy.url, protocol=protocol) as client, client.pubsub() as channel:
        await channel.subscribe("near")
        assert (await channel.get_message(timeout=10))["type"] == "subscribe"
        rules.drop_messages = True
        assert await near.publish("near", "lost") == 1
        await channel.subscribe("more")
        assert (await channel.get_message(timeout=10))["type"] == "subscribe"
        rules.drop_messages = False
        await near.publish("near", "heard")
        assert (await channel.get_message(timeout=10))["data"] == "heard"


async def test_the_second_reply_is_swallowed_after_its_request_was_carried_out(
    stores: Stores, proxy: Proxy, rules: Replies, near: Any
) -> None:
    rules.swallow("XADD", nth=2)
    client = client_of(stores, proxy.url, socket_timeout=SHORT_S)
    assert await client.xadd("near", {"a": 1})
    assert await client.xlen("near") == 1
    with pytest.raises(RedisTimeoutError):
        await client.xadd("near", {"a": 2})
    assert (await near.xlen("near"), rules.swallowed) == (2, [("XADD",)])
    assert await client.xadd("near", {"a": 3})
    await client.aclose()


async def test_after_a_swallowed_reply_its_connection_is_silent(far: Any, rules: Replies) -> None:
    rules.swallow("INCRBY")
    pipe = far.pipeline(transaction=False)
    answer = asyncio.create_task(pipe.incr("near").get("near").execute())
    assert await silent(answer), "the next reply was taken for the lost one"
    answer.cancel()
    await asyncio.wait([answer])


async def test_a_reply_of_one_function_is_swallowed_by_its_name(stores: Stores, proxy: Proxy, rules: Replies) -> None:
    direct, through = (Redis(stores.settings(redis_url=url)) for url in (stores.urls["redis_url"], proxy.url))
    await direct.load_library()
    registry = Registry(through)
    before = await registry.view()
    rules.swallow("FCALL", "view")
    with pytest.raises(StoreAway):
        await registry.view()
    assert (await registry.view()).agents == before.agents
    for redis in (direct, through):
        await redis.aclose()


async def test_a_value_reads_as_another_one(far: Any, near: Any, rules: Replies) -> None:
    await near.hset("near", mapping={"port": "4000", "more": "40001"})
    rules.show("4000", instead="51234")
    assert await far.hgetall("near") == {"port": "51234", "more": "40001"}


@pytest.mark.parametrize(
    "frame",
    [b"+OK\r\n", b"-ERR no\r\n", b":12\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"$4\r\na\r\nb\r\n", b"*-1\r\n", b"*0\r\n",
     b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", b"%1\r\n+a\r\n:1\r\n", b"|1\r\n+a\r\n:1\r\n+OK\r\n", b">2\r\n+message\r\n_\r\n"],
)  # fmt: skip
def test_a_frame_ends_where_it_ends_and_nowhere_before(frame: bytes) -> None:
    assert [frame_end(frame[:length]) for length in range(len(frame))] == [None] * len(frame)
    assert frame_end(frame + b"+OK\r\n") == len(frame)


def test_commands_are_known_by_their_first_two_words() -> None:
    assert words(b"*3\r\n$5\r\nfcall\r\n$5\r\nrenew\r\n$1\r\n1\r\n") == ["FCALL", "RENEW"]
    assert words(b"ping\r\n") == ["PING"]
