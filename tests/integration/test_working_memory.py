"""Sessions in Redis: patched in part, never by an older writer, and the same when they are rebuilt from rows."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.exceptions import ResponseError

from agent_image.runner.llm import build_router
from agent_image.runner.turns.summaries import Summaries
from appliance.core.metrics import SESSION_SOURCES
from appliance.core.records import TaskState, Turn
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.working_memory import Past, Session, SubAgent, Summary, WorkingMemory, read_session
from tests.fakes.models import FakeProvider
from tests.stores import Stores
from tests.talks import LONG, WINDOW, Talk, prompt_of
from tests.waiting import wait_until

NOBODY = "redis://127.0.0.1:1"


@pytest.fixture
async def config(stores: Stores) -> Settings:
    return await stores.with_own_database(redis_key_prefix="tmemory:")


@pytest.fixture
async def talk(config: Settings) -> AsyncIterator[Talk]:
    made = Talk(config)
    await made.open()
    yield made
    await made.aclose()


async def session_of(talk: Talk) -> Session:
    found = await read_session(talk.redis, talk.conversation)
    assert found is not None
    return found


async def forget(talk: Talk) -> None:
    assert await talk.redis.data.delete(talk.redis.keys.session(talk.conversation)) == 1


def later(turn: Turn, attempt: int) -> Turn:
    return msgspec.structs.replace(turn, attempt=attempt)


async def summarised(talk: Talk, summaries: Summaries, past: Past, turn: Turn) -> Summary:
    """Let one summary be made, to its end."""
    summaries.offer(turn, past)
    making = asyncio.create_task(summaries.run())

    async def stands() -> Summary | None:
        made = await talk.memory.summary(talk.conversation)
        session = await session_of(talk)
        return made if made.upto_turn > past.summary.upto_turn and session.summary == made else None

    try:
        return Summary(*msgspec.structs.astuple(await wait_until(stands, of="a summary")))
    finally:
        making.cancel()


def by_itself(talk: Talk, config: Settings, **models: str) -> Summaries:
    """Summaries of the models these settings name; without any, of what is too weak for them."""
    router = build_router(config.model_copy(update=models or {"model_url": NOBODY, "model_name": "bundled/x"}))
    return Summaries(talk.memory, router, window=WINDOW, at=0.5)


async def test_a_session_says_who_runs_a_turn_with_which_tools_and_then_holds_the_answer(talk: Talk) -> None:
    turn = await talk.ask("Where is Ulm?")
    await talk.memory.begin(turn, Past(), agent="agent-7", tools=("reminder",), memory_context="Likes rivers.")
    before = await session_of(talk)
    assert (before.owner_agent, before.active_tools, before.memory_context) == (
        "agent-7", ("reminder",), "Likes rivers.",
    )  # fmt: skip
    assert (before.version, before.messages_count, before.recent_messages) == ((1, 1), 0, ())
    await talk.memory.remember(turn, Past().with_turn(turn, "On the Danube."), agent="agent-7", model="m")
    after = await session_of(talk)
    assert [(it.role, it.text) for it in after.recent_messages] == [
        ("user", "Where is Ulm?"), ("assistant", "On the Danube."),
    ]  # fmt: skip
    assert (after.model, after.messages_count, after.answered_turn, after.ttl_seconds) == ("m", 2, 1, 60)
    assert after.memory_context == "Likes rivers.", "what was not written anew stays"
    seconds = int((await talk.redis.data.time())[0])
    assert seconds - 60 < after.updated_at <= seconds
    assert 0 < await talk.redis.data.ttl(talk.redis.keys.session(talk.conversation)) <= 60


async def test_sub_agents_are_patched_in_and_the_next_turn_begins_without_them(talk: Talk) -> None:
    turn = await talk.ask("/multi Go")
    await talk.memory.begin(turn, Past(), agent="a", tools=())
    team = {"scout": SubAgent("running", output_key="task-1"), "critic": SubAgent("waiting")}
    await talk.memory.note_team(turn, team)
    assert (await session_of(talk)).sub_agents == team
    await talk.end(turn, answer="Done.")
    await talk.memory.remember(turn, Past().with_turn(turn, "Done."), agent="a", model="m")
    assert (await session_of(talk)).sub_agents == team
    turn = await talk.ask("And now?")
    await talk.memory.begin(turn, await talk.memory.recall(turn), agent="a", tools=())
    assert (await session_of(talk)).sub_agents == {}


@pytest.mark.parametrize("older", [(1, 9), (2, 1)])
async def test_an_older_turn_or_attempt_writes_nothing(talk: Talk, older: tuple[int, int]) -> None:
    await talk.exchange("Where is Ulm?")
    turn = later(await talk.ask("And Linz?"), 2)
    past = await talk.memory.recall(turn)
    await talk.memory.begin(turn, past, agent="newer", tools=())
    before = await session_of(talk)
    late = msgspec.structs.replace(turn, turn_no=older[0], attempt=older[1])
    await talk.memory.begin(late, past, agent="older", tools=("shell",))
    await talk.memory.begin(late, Past(), agent="older", tools=("shell",))
    await talk.memory.note_team(late, {"scout": SubAgent("running")})
    await talk.memory.remember(late, past.with_turn(late, "Too late."), agent="older", model="m")
    assert await session_of(talk) == before


async def patch(redis: Redis, key: str, *pairs: str) -> Any:
    return await redis.call("patch_session", [key], [60, "$.version", "[1,1]", *pairs])


async def test_a_patch_that_is_no_patch_writes_nothing(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    before, key = await session_of(talk), talk.redis.keys.session(talk.conversation)
    for pairs in (("$.model", '"x"', "model", '"y"'), ("$.model", '"x"', "$.owner_agent")):
        with pytest.raises(ResponseError):
            await patch(talk.redis, key, *pairs)
        assert await session_of(talk) == before
    assert await patch(talk.redis, talk.redis.keys.session("nobody"), "$.model", '"x"') == -1
    assert not await talk.redis.data.exists(talk.redis.keys.session("nobody"))


async def test_what_redis_knows_and_what_rows_say_is_the_same(talk: Talk) -> None:
    for number in range(12):
        await talk.exchange(f"{number}. {LONG}")
    turn = await talk.ask("And Linz?")
    counted = {name: SESSION_SOURCES.labels(name)._value.get() for name in ("redis", "rows")}
    hot = await talk.memory.recall(turn)
    await forget(talk)
    cold = await talk.memory.recall(turn)
    assert (hot.source, cold.source) == ("redis", "rows")
    assert {name: SESSION_SOURCES.labels(name)._value.get() - was for name, was in counted.items()} == {
        "redis": 1, "rows": 1,
    }  # fmt: skip
    assert prompt_of(hot, "And Linz?") == prompt_of(cold, "And Linz?")
    assert hot.messages_count == cold.messages_count == 24
    assert 3 <= len(prompt_of(hot, "And Linz?")) < 24, "it is bounded by tokens"


async def test_a_session_of_an_older_state_is_not_trusted(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    key = talk.redis.keys.session(talk.conversation)
    older: Any = await talk.redis.data.json().get(key)
    await talk.exchange("And Linz?")
    await talk.redis.data.json().set(key, "$", older)
    turn = await talk.ask("And Passau?")
    past = await talk.memory.recall(turn)
    assert [it.text for it in past.messages if it.role == "user"] == ["Where is Ulm?", "And Linz?"]
    await talk.memory.begin(turn, past, agent="a", tools=())
    assert (await talk.memory.recall(turn)).source == "redis", "and the session is whole again"


async def test_a_summary_that_does_not_reach_the_messages_is_not_trusted(talk: Talk) -> None:
    for number in range(3):
        past = await talk.exchange(f"{number}. Where is Ulm?")
    turn = await talk.ask("And Linz?")
    await talk.memory.summarise(turn, Summary(2, "Of Ulm."))
    await talk.end(turn, answer="Upstream.")
    older: Any = msgspec.to_builtins(await session_of(talk)) | {"summary": {"upto_turn": 0, "text": "", "model": ""}}
    past = Past(past.messages[4:], Summary(2, "Of Ulm."), 6).with_turn(turn, "Upstream.")
    await talk.redis.data.json().set(talk.redis.keys.session(talk.conversation), "$", older)  # Redis lost a second
    await talk.memory.remember(turn, past, agent="a", model="m")
    now = await talk.memory.recall(await talk.ask("And Passau?"))
    assert (now.source, now.summary.text, len(now.messages)) == ("rows", "Of Ulm.", 4)


async def test_without_redis_the_past_comes_from_rows(talk: Talk, config: Settings) -> None:
    await talk.exchange("Where is Ulm?")
    turn = await talk.ask("And Linz?")
    alone = Redis(config.model_copy(update={"redis_url": NOBODY}))
    past = await WorkingMemory(alone, talk.postgres, ttl_s=60, window=WINDOW).recall(turn)
    await alone.aclose()
    assert (past.source, past.messages_count) == ("rows", 2)


async def test_what_another_version_wrote_is_no_session(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    await talk.redis.data.json().set(talk.redis.keys.session(talk.conversation), "$", {"conv_id": 7})
    turn = await talk.ask("And Linz?")
    past = await talk.memory.recall(turn)
    assert past.source == "rows"
    await talk.memory.begin(turn, past, agent="a", tools=())
    assert (await session_of(talk)).messages_count == 2


async def test_turns_that_were_not_answered_are_no_part_of_the_past(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?", "On the Danube.")
    await talk.end(await talk.ask("And Linz?"), TaskState.FAILED, "On the")
    past = await talk.memory.recall(await talk.ask("And Passau?"))
    assert [it.text for it in past.messages] == ["Where is Ulm?", "On the Danube."]


async def test_a_long_past_is_folded_into_a_summary_that_redis_and_rows_share(talk: Talk, config: Settings) -> None:
    for number in range(8):
        past = await talk.exchange(f"{number}. {LONG}")
    turn = await talk.ask("And Linz?")
    made = await summarised(talk, by_itself(talk, config), past, turn)
    assert made.text.startswith("- 0.\n- 1.")
    hot = await talk.memory.recall(turn)
    await forget(talk)
    cold = await talk.memory.recall(turn)
    assert (hot.source, cold.source) == ("redis", "rows")
    assert hot.summary == cold.summary == made
    told = prompt_of(hot, "And Linz?")
    assert told == prompt_of(cold, "And Linz?")
    assert made.text in told[0].text
    assert told[1].text.startswith(f"{made.upto_turn}. "), "word for word goes on where the summary ends"


async def test_a_summary_is_written_by_the_model_from_the_one_before_and_what_was_said_since(
    talk: Talk, config: Settings, provider: FakeProvider
) -> None:
    summaries = by_itself(talk, config, model_url=f"{provider.url}/v1", model_name="writer")
    made = []
    for number in range(14):
        past = await talk.exchange(f"[[tokens=3 word=short]] {number}. {LONG}")
        if past.tokens > WINDOW // 2:
            turn = await talk.ask("next")
            made.append(await summarised(talk, summaries, past, turn))
            await talk.end(turn, answer="yes")
    assert len(made) >= 2
    assert {(it.text, it.model) for it in made} == {("short1 short2 short3", "writer")}
    first, second = [
        call for call in await provider.calls()
        if call["idem_key"] in {f"{talk.conversation}:summary:{it.upto_turn}" for it in made[:2]}
    ]  # fmt: skip
    assert "short1" not in first["message"]
    assert "<summary>\nshort1 short2 short3\n</summary>" in second["message"]
    assert max(len(call["message"]) for call in (first, second)) < WINDOW // 2 * 3 + 500


async def test_a_failed_summary_only_leaves_older_messages_out_and_is_made_at_a_later_turn(
    talk: Talk, config: Settings
) -> None:
    failing = by_itself(talk, config, model_url="http://127.0.0.1:1/v1", model_name="gone")
    for _ in range(8):
        past = await talk.exchange()
    turn = await talk.ask("And Linz?")
    failing.offer(turn, past)
    making = asyncio.create_task(failing.run())

    async def failed() -> bool:
        return bool(failing._router.models()[0].paused)

    await wait_until(failed, of="a failed call")
    assert not making.done()
    making.cancel()
    assert (await talk.memory.summary(talk.conversation)).upto_turn == 0
    told = prompt_of(await talk.memory.recall(turn), "And Linz?")
    assert 3 <= len(told) < 16
    await summarised(talk, by_itself(talk, config), past, turn)


async def test_an_older_summary_never_replaces_a_newer_one(talk: Talk) -> None:
    for _ in range(3):
        await talk.exchange()
    turn = await talk.ask("And Linz?")
    newer = await talk.memory.summarise(turn, Summary(3, "Newer.", "m"))
    assert newer == Summary(3, "Newer.", "m")
    for late in (Summary(2, "Older."), Summary(3, "The same, again.")):
        assert await talk.memory.summarise(turn, late) == newer
    assert (await session_of(talk)).summary == newer
    key = talk.redis.keys.session(talk.conversation)
    stale = json.dumps({"upto_turn": 2, "text": "Older.", "model": ""})
    assert await talk.redis.call("patch_session", [key], [60, "$.summary.upto_turn", "[2]", "$.summary", stale]) == 0
    assert (await talk.memory.recall(turn)).summary == newer


async def test_a_summary_that_another_agent_made_meanwhile_is_taken_over(talk: Talk, config: Settings) -> None:
    for _ in range(8):
        past = await talk.exchange()
    turn = await talk.ask("And Linz?")
    await talk.memory.summarise(turn, Summary(7, "By another agent.", "m"))
    await talk.redis.data.json().set(
        talk.redis.keys.session(talk.conversation), "$.summary", {"upto_turn": 0, "text": "", "model": ""}
    )
    assert await summarised(talk, by_itself(talk, config), past, turn) == Summary(7, "By another agent.", "m")


async def test_a_deleted_conversation_gets_no_summary(talk: Talk) -> None:
    await talk.exchange()
    turn = await talk.ask("And Linz?")
    await talk.postgres.rows("delete_conversation", conversation=talk.conversation, tenant="t", user=talk.user.id)
    assert await talk.memory.summarise(turn, Summary(1, "Of Ulm.")) == Summary()
