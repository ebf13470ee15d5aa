"""One Redis user per role: each may do its work and nothing else, and what is denied is logged (FAULTS F33)."""

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio as aioredis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from structlog.testing import capture_logs

from appliance.core import event_bus
from appliance.core.acl import USERS, RedisUser
from appliance.core.conversation_events import ConversationEvents
from appliance.core.election import Election
from appliance.core.errors import StoreAway, StoreDenies
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, Status, TaskState, Turn
from appliance.core.redis import Redis, answering
from appliance.core.registry import Registry
from appliance.core.working_memory import Past, WorkingMemory, read_session
from appliance.embedded.secrets import read_secret
from tests.client import Client, follow_to_the_end
from tests.cluster import running_cluster
from tests.stores import Stores
from tests.waiting import wait_until

PROGRAMS = [user for user in USERS if user != "admin"]
BEYOND_EVERYBODY = [
    "FLUSHALL", "FLUSHDB", "SHUTDOWN", "MONITOR", "KEYS *", "SCAN 0", "RANDOMKEY", "SAVE", "BGREWRITEAOF",
    "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "DEBUG SLEEP 0", "EVAL return 0", "EVALSHA 0 0",
    "SCRIPT FLUSH", "FUNCTION FLUSH", "FUNCTION DELETE nexus", "FUNCTION DUMP", "ACL SETUSER x on", "ACL LIST",
    "CLIENT LIST", "CLIENT KILL ID 0", "CLIENT PAUSE 1", "MODULE LOAD /x.so", "REPLICAOF NO ONE", "SELECT 1",
]  # fmt: skip


@pytest.fixture
async def signed_in(stores: Stores) -> AsyncIterator[Callable[[RedisUser], Redis]]:
    """Connect as any user; all of one test use the same keys, which a generation has begun."""
    prefix, made = f"t{uuid4().hex[:6]}:", list[Redis]()

    def connect(user: RedisUser) -> Redis:
        made.append(Redis(stores.settings(user, redis_key_prefix=prefix)))
        return made[-1]

    await connect("keeper").load_library()
    await Registry(connect("keeper")).initialise(uuid4().hex, 3)
    yield connect
    for redis in made:
        await redis.aclose()


@pytest.fixture
def election(stores: Stores) -> Callable[[Redis], Election]:
    return lambda redis: Election(redis, Postgres(stores.settings(), application="test"))


def an_agent(agent_id: str = "agent-1") -> Agent:
    return Agent(id=agent_id, status=Status.ACTIVE, boot=f"boot-{agent_id}", can_vote=True)


async def first_hint(redis: Redis, *topics: event_bus.Topic) -> dict[str, Any]:
    async for hint in event_bus.listen(redis, *topics):
        return hint
    raise AssertionError("hints end only with an error")


async def say(redis: Redis, *words: str) -> Any:
    client: Any = redis.data
    return await client.execute_command(*words)


async def denials(admin: Redis, user: RedisUser) -> list[tuple[str, str]]:
    """Return what Redis itself wrote down: where, and which command, key or channel."""
    found: Any = await admin.data.acl_log(128)
    prefix = admin.keys.prefix
    return [(it["context"], it["object"].removeprefix(prefix)) for it in found if it["username"] == user]


async def test_a_keeper_may_do_all_that_liveness_and_elections_need(
    signed_in: Callable[[RedisUser], Redis], election: Callable[[Redis], Election]
) -> None:
    redis = signed_in("keeper")
    registry, seat = Registry(redis), election(redis)
    assert "JSON and search" in await redis.check()
    heard = asyncio.create_task(first_hint(redis, "agent", "health", "config"))

    async def hears() -> bool:
        return bool((await signed_in("admin").data.pubsub_numsub(redis.keys.channel("health")))[0][1])

    await wait_until(hears, of="a keeper that listens")
    for agent in (an_agent("agent-1"), an_agent("agent-2")):
        await registry.beat(agent)
    assert await seat.install("agent-1", "boot-agent-1", 4)
    assert (await heard)["type"] == "primary_elected"
    assert await seat.renew("agent-1", "boot-agent-1", 4) == "ok"
    assert await seat.vote("agent-2", "boot-agent-2", epoch=4, suspect="agent-1", evidence="eof")
    tally = await seat.may_elect(epoch=4, seq=1, suspect="agent-1", evidence="eof", held_s=1)
    assert (tally.verdict, tally.voters) == ("yes", ("agent-2",))
    assert (await registry.suspect("agent-1", "boot-agent-1", voter="agent-2", window_ms=1500))[0] == 1
    await registry.withdraw_suspicion("boot-agent-1", voter="agent-2")
    assert await seat.release("agent-1", "boot-agent-1", 4, successor="", kind="child")
    assert await seat.reassert("agent-1", "boot-agent-1", 4)
    await seat.tell(4, {"type": "routing"})
    await registry.leave("agent-1", "boot-agent-1", on_purpose=True)
    assert [agent.id for agent in (await registry.view()).agents if agent.boot_alive] == ["agent-2"]


async def test_a_runner_may_do_all_that_conversations_need(
    stores: Stores, signed_in: Callable[[RedisUser], Redis], election: Callable[[Redis], Election]
) -> None:
    redis = signed_in("runner")
    events, wake = ConversationEvents(redis), redis.keys.wake("boot")
    await events.open_attempt("c", "turn", 1, agent="a", first=("started", {}))
    await events.append("c", "turn", 1, [("token", {"t": "word"})])
    position = await events.position("c", "turn")
    assert [it.type for it in await events.since("c", position.generation, "0-0")] == ["started", "token"]
    async with answering():
        await redis.data.xadd(wake, {"n": "1"}, maxlen=4, approximate=False)
        await redis.data.expire(wake, 60)
    assert set(await events.read({events.stream("c"): "0", wake: "0"})) == {events.stream("c"), wake}
    turn = Turn(id="turn", conversation_id="c", user_id="u", turn_no=1, attempt=1, text="Hi", state=TaskState.RUNNING)
    memory = WorkingMemory(redis, Postgres(stores.settings(), application="test"), ttl_s=60, window=2048)
    await memory.begin(turn, Past(), agent="a", tools=())
    await memory.remember(turn, Past().with_turn(turn, "Hello"), agent="a", model="m")
    read = [await read_session(reader, "c") for reader in (redis, signed_in("control"))]
    assert [it and it.messages_count for it in read] == [2, 2]
    with pytest.raises(NoPermissionError):
        await say(signed_in("control"), "JSON.SET", redis.keys.session("c"), "$.model", '"x"')
    await events.append("c", "turn", 1, [("done", {})])
    assert (await Registry(redis).view()).epoch == 3
    await election(redis).tell(3, {"type": "routing"})
    heard = asyncio.create_task(first_hint(redis, "abort"))

    async def is_heard() -> bool:
        await event_bus.publish(redis, "abort", "abort", turn="turn")
        return heard.done()

    await wait_until(is_heard, of="an abort that is heard")
    assert (await heard)["turn"] == "turn"


async def test_the_others_see_the_registry_and_say_what_is_theirs(signed_in: Callable[[RedisUser], Redis]) -> None:
    await Registry(signed_in("keeper")).beat(an_agent())
    readers: tuple[RedisUser, ...] = ("control", "gateway", "operator")
    for user in readers:
        [seen] = (await Registry(signed_in(user)).view()).agents
        assert seen.boot_alive
    async with answering():
        for redis in (signed_in("control"), signed_in("operator")):
            assert await redis.data.publish(redis.keys.channel("config"), "{}") == 0
    operator = signed_in("operator")
    assert "JSON and search" in await operator.check()
    assert isinstance(await operator.data.acl_log(), list)


async def test_metrics_are_counted_but_no_word_is_read(signed_in: Callable[[RedisUser], Redis]) -> None:
    runner, metrics = signed_in("runner"), signed_in("metrics")
    await ConversationEvents(runner).open_attempt("c", "turn", 1, agent="a", first=("started", {}))
    stream = runner.keys.events("c")
    assert "redis_version" in await metrics.data.info()
    assert await metrics.data.xlen(stream) == 1
    assert await metrics.data.xinfo_groups(stream) == []
    assert isinstance(await metrics.data.slowlog_get(), list)
    for command in (("XRANGE", stream, "-", "+"), ("XINFO", "STREAM", stream), ("GET", metrics.keys.generation)):
        with pytest.raises(NoPermissionError):
            await say(metrics, *command)


async def test_the_initialiser_loads_the_functions_and_begins_a_generation(
    signed_in: Callable[[RedisUser], Redis],
) -> None:
    redis, admin = signed_in("initialiser"), signed_in("admin")
    await admin.data.delete(redis.keys.generation)
    await redis.load_library()
    assert await Registry(redis).initialise("born", 9) == "born"
    with pytest.raises(StoreDenies):
        await Registry(redis).beat(an_agent())


async def test_a_runner_forges_neither_a_heartbeat_nor_a_vote_nor_a_lease(
    signed_in: Callable[[RedisUser], Redis], election: Callable[[Redis], Election]
) -> None:
    keeper, admin = signed_in("keeper"), signed_in("admin")
    await Registry(keeper).beat(an_agent())
    assert await election(keeper).install("agent-1", "boot-agent-1", 4)
    before = await Registry(keeper).view()
    registry, seat = Registry(signed_in("runner")), election(signed_in("runner"))
    forged: list[Callable[[], Awaitable[Any]]] = [
        lambda: registry.beat(an_agent("agent-2")),
        lambda: registry.leave("agent-1", "boot-agent-1", on_purpose=True),
        lambda: registry.suspect("agent-1", "boot-agent-1", voter="agent-2", window_ms=1500),
        lambda: registry.withdraw_suspicion("boot-agent-1", voter="agent-2"),
        lambda: registry.initialise("another", 99),
        lambda: seat.vote("agent-1", "boot-agent-1", epoch=4, suspect="agent-1", evidence="eof"),
        lambda: seat.install("agent-2", "boot-agent-2", 5),
        lambda: seat.reassert("agent-1", "boot-agent-1", 4),
        lambda: seat.renew("agent-1", "boot-agent-1", 4),
        lambda: seat.release("agent-1", "boot-agent-1", 4, successor="agent-2", kind="switchover"),
    ]
    for step in forged:
        with pytest.raises(StoreDenies):
            await step()
    after = await Registry(keeper).view()
    assert (after.agents[0].boot_alive, after.generation, after.epoch) == (True, before.generation, 4)
    assert (after.lease and after.lease.seq, after.released) == (0, None)
    assert not await admin.data.exists(admin.keys.votes(4), admin.keys.suspects("boot-agent-1"))
    assert {"primary", "agent:agent-2", "failover:votes:4"} <= {key for _, key in await denials(admin, "runner")}


async def test_keys_are_guarded_inside_a_function_too_and_from_modules(
    signed_in: Callable[[RedisUser], Redis],
) -> None:
    redis, admin = signed_in("runner"), signed_in("admin")
    secret = f"{redis.keys.prefix}secret"
    with pytest.raises(StoreDenies):
        await redis.call("append", [redis.keys.events("c"), redis.keys.attempts("c")], [secret, "turn", 1, 60, 9])
    for command in (
        ("JSON.SET", redis.keys.primary, "$", "{}"), ("HSET", redis.keys.agent("agent-1"), "boot", "mine"),
        ("XADD", secret, "*", "a", "b"), ("PUBLISH", redis.keys.channel("config"), "{}"), ("GET", "other:epoch"),
    ):  # fmt: skip
        with pytest.raises(NoPermissionError):
            await say(redis, *command)
    assert ("lua", "secret") in await denials(admin, "runner")


@pytest.mark.parametrize("user", PROGRAMS)
async def test_no_program_may_empty_configure_or_spy_on_redis(
    signed_in: Callable[[RedisUser], Redis], user: RedisUser
) -> None:
    redis, admin = signed_in(user), signed_in("admin")
    await admin.data.acl_log_reset()
    for words in BEYOND_EVERYBODY:
        assert "has no permissions" in str(await admin.data.acl_dryrun(user, *words.split())), words
        with pytest.raises(ResponseError, match=r"no permissions|(DEBUG|MODULE) command not allowed"):
            await say(redis, *words.split())
    assert ("toplevel", "flushall") in await denials(admin, user)
    if user not in ("keeper", "initialiser"):
        with pytest.raises(StoreDenies):
            await redis.load_library()


async def test_a_denial_is_logged_once_with_what_was_called(
    signed_in: Callable[[RedisUser], Redis], election: Callable[[Redis], Election]
) -> None:
    seat = election(signed_in("gateway"))
    with capture_logs() as lines:
        for _ in range(2):
            with pytest.raises(StoreDenies, match="command=renew"):
                await seat.renew("agent-1", "boot-agent-1", 4)
    [line] = [line for line in lines if line["event"] == "redis_denied"]
    assert (line["command"], "no permissions" in line["answer"]) == ("renew", True)


async def test_a_runner_without_functions_waits_for_a_keeper_and_asks_for_nothing_it_may_not(
    signed_in: Callable[[RedisUser], Redis],
) -> None:
    runner, admin = signed_in("runner"), signed_in("admin")
    await admin.data.acl_log_reset()
    await admin.data.function_delete("nexus")
    with pytest.raises(StoreAway, match="waits for a keeper") as waits:
        await Registry(runner).view()
    assert not isinstance(waits.value, StoreDenies)
    await Registry(signed_in("keeper")).beat(an_agent())
    assert (await Registry(runner).view()).agent("agent-1") is not None
    assert await denials(admin, "runner") == []


async def test_nobody_enters_without_a_password_and_none_stands_in_a_file_of_redis(stores: Stores) -> None:
    for user, password in ((None, None), (None, "guess"), ("keeper", "guess")):
        stranger: Any = aioredis.Redis.from_url(stores.urls["redis_url"], username=user, password=password)
        with pytest.raises(AuthenticationError):
            await stranger.ping()
        await stranger.aclose()
    passwords = [read_secret(stores.home.secrets, f"redis_{user}_password") for user in USERS]
    assert len(set(passwords)) == len(USERS)
    for file in ("redis.conf", "redis.acl"):
        path = stores.home.run / file
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not any(password in path.read_text() for password in passwords)


async def test_in_a_running_cluster_each_program_is_its_own_user_and_is_denied_nothing() -> None:
    async with running_cluster(2) as cluster:
        await cluster.start_control_plane()

        async def all_there() -> bool:
            users = {client["user"] for client in await cluster.redis.data.client_list()}
            return {"keeper", "runner", "gateway", "control"} <= users

        await wait_until(all_there, of="all users in Redis")
        _, token = await cluster.sign_in()
        client = Client(cluster.url, token)
        conversation = await client.create()
        accepted = await client.send(conversation, "Hi [[tokens=3]]")
        assert (await follow_to_the_end(client, conversation, accepted["turn"]))[-1]["type"] == "done"
        await client.aclose()
        assert await cluster.redis.data.acl_log() == []
