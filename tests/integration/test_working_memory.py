"""Sessions in Redis: patched in part, never by an older writer, and the same when they are rebuilt from rows."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.exceptions import ResponseError

from appliance.core.metrics import SESSION_SOURCES
from appliance.core.records import TaskState, Turn
from appliance.core.redis import Redis
from appliance.core.working_memory import Past, SubAgent, Summary, WorkingMemory
from tests.stores import Stores
from tests.talks import LONG, NOBODY, WINDOW, Talk, prompt_of, talking


@pytest.fixture
async def talk(stores: Stores) -> AsyncIterator[Talk]:
    async with talking(stores) as made:
        yield made


def later(turn: Turn, attempt: int) -> Turn:
    return msgspec.structs.replace(turn, attempt=attempt)


async def test_a_session_says_who_runs_a_turn_with_which_tools_and_then_holds_the_answer(talk: Talk) -> None:
    turn = await talk.ask("Where is Ulm?")
    await talk.memory.begin(turn, Past(), agent="agent-7", tools=("reminder",), memory_context="Likes rivers.")
    before = await talk.session()
    assert (before.owner_agent, before.active_tools, before.memory_context) == (
        "agent-7", ("reminder",), "Likes rivers.",
    )  # fmt: skip
    assert (before.version, before.messages_count, before.recent_messages) == ((1, 1), 0, ())
    await talk.memory.remember(turn, Past().with_turn(turn, "On the Danube."), agent="agent-7", model="m")
    after = await talk.session()
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
    assert (await talk.session()).sub_agents == team
    await talk.end(turn, answer="Done.")
    await talk.memory.remember(turn, Past().with_turn(turn, "Done."), agent="a", model="m")
    assert (await talk.session()).sub_agents == team
    turn = await talk.ask("And now?")
    await talk.memory.begin(turn, await talk.memory.recall(turn), agent="a", tools=())
    assert (await talk.session()).sub_agents == {}


@pytest.mark.parametrize("older", [(1, 9), (2, 1)])
async def test_an_older_turn_or_attempt_writes_nothing(talk: Talk, older: tuple[int, int]) -> None:
    await talk.exchange("Where is Ulm?")
    turn = later(await talk.ask("And Linz?"), 2)
    past = await talk.memory.recall(turn)
    await talk.memory.begin(turn, past, agent="newer", tools=())
    before = await talk.session()
    late = msgspec.structs.replace(turn, turn_no=older[0], attempt=older[1])
    await talk.memory.begin(late, past, agent="older", tools=("shell",))
    await talk.memory.begin(late, Past(), agent="older", tools=("shell",))
    await talk.memory.note_team(late, {"scout": SubAgent("running")})
    await talk.memory.remember(late, past.with_turn(late, "Too late."), agent="older", model="m")
    assert await talk.session() == before


async def test_a_later_turn_counts_whatever_the_attempts_before_it(talk: Talk) -> None:
    turn = later(await talk.ask("Where is Ulm?"), 5)
    await talk.memory.begin(turn, Past(), agent="a", tools=())
    await talk.memory.remember(turn, Past().with_turn(turn, "There."), agent="a", model="m")
    await talk.memory.begin(later(msgspec.structs.replace(turn, turn_no=2), 1), Past(), agent="b", tools=())
    assert (await talk.session()).owner_agent == "b"


async def test_a_session_that_expired_while_its_turn_ran_is_whole_after_it(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    turn = await talk.ask("And Linz?")
    past = await talk.memory.recall(turn)
    await talk.memory.begin(turn, past, agent="a", tools=())
    await talk.forget()
    await talk.memory.note_team(turn, {"scout": SubAgent("running")})
    await talk.end(turn, answer="Upstream.")
    await talk.memory.remember(turn, past.with_turn(turn, "Upstream."), agent="a", model="m")
    now = await talk.memory.recall(await talk.ask("And Passau?"))
    assert (now.source, now.messages_count, len(now.messages)) == ("redis", 4, 4)


async def patch(redis: Redis, key: str, *pairs: str) -> Any:
    return await redis.call("patch_session", [key], [60, "$.version", "[1,1]", *pairs])


async def test_a_patch_that_is_no_patch_writes_nothing(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    before, key = await talk.session(), talk.redis.keys.session(talk.conversation)
    for pairs in (("$.model", '"x"', "model", '"y"'), ("$.model", '"x"', "$.owner_agent")):
        with pytest.raises(ResponseError):
            await patch(talk.redis, key, *pairs)
        assert await talk.session() == before
    assert await patch(talk.redis, talk.redis.keys.session("nobody"), "$.model", '"x"') == -1
    assert not await talk.redis.data.exists(talk.redis.keys.session("nobody"))


async def test_what_redis_knows_and_what_rows_say_is_the_same(talk: Talk) -> None:
    for number in range(12):
        await talk.exchange(f"{number}. {LONG}")
    turn = await talk.ask("And Linz?")
    counted = {name: SESSION_SOURCES.labels(name)._value.get() for name in ("redis", "rows")}
    hot = await talk.memory.recall(turn)
    await talk.forget()
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
    older: Any = msgspec.to_builtins(await talk.session()) | {"summary": {"upto_turn": 0, "text": "", "model": ""}}
    past = Past(past.messages[4:], Summary(2, "Of Ulm."), 6).with_turn(turn, "Upstream.")
    await talk.redis.data.json().set(talk.redis.keys.session(talk.conversation), "$", older)  # Redis lost a second
    await talk.memory.remember(turn, past, agent="a", model="m")
    now = await talk.memory.recall(await talk.ask("And Passau?"))
    assert (now.source, now.summary.text, len(now.messages)) == ("rows", "Of Ulm.", 4)


async def test_without_redis_the_past_comes_from_rows(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    turn = await talk.ask("And Linz?")
    alone = Redis(talk.config.model_copy(update={"redis_url": NOBODY}))
    past = await WorkingMemory(alone, talk.postgres, ttl_s=60, window=WINDOW).recall(turn)
    await alone.aclose()
    assert (past.source, past.messages_count) == ("rows", 2)


async def test_what_an_older_nexus_wrote_is_no_session(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?")
    said = [{"role": "user", "text": "Where is Ulm?"}, {"role": "assistant", "text": "On the Danube."}]
    older: dict[str, Any] = {
        "conv_id": talk.conversation, "user_id": "u", "owner_agent": "a", "model": "m", "messages_count": 2,
        "recent_messages": said, "token_estimate": 9, "ttl_seconds": 60, "answered_turn": 1,
    }  # fmt: skip
    await talk.redis.data.json().set(talk.redis.keys.session(talk.conversation), "$", older)
    turn = await talk.ask("And Linz?")
    past = await talk.memory.recall(turn)
    assert past.source == "rows"
    await talk.memory.begin(turn, past, agent="a", tools=())
    assert (await talk.session()).messages_count == 2


async def test_turns_that_were_not_answered_are_no_part_of_the_past(talk: Talk) -> None:
    await talk.exchange("Where is Ulm?", "On the Danube.")
    await talk.end(await talk.ask("And Linz?"), TaskState.FAILED, "On the")
    past = await talk.memory.recall(await talk.ask("And Passau?"))
    assert [it.text for it in past.messages] == ["Where is Ulm?", "On the Danube."]
