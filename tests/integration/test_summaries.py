"""Long conversations: what is folded into a summary, by whom, and that it survives Redis and failures."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from agent_image.runner.llm import build_router
from agent_image.runner.turns.prompt import Window
from agent_image.runner.turns.summaries import Summaries
from appliance.core.records import Turn
from appliance.core.working_memory import Past, Summary, standing_summary
from tests.fakes.models import FakeProvider
from tests.stores import Stores
from tests.talks import LONG, NOBODY, WINDOW, Talk, prompt_of, talking
from tests.waiting import wait_until


@pytest.fixture
async def talk(stores: Stores) -> AsyncIterator[Talk]:
    async with talking(stores) as made:
        yield made


async def summarised(talk: Talk, summaries: Summaries, past: Past, turn: Turn) -> Summary:
    """Let one summary be made, to its end."""
    summaries.offer(turn, past)
    making = asyncio.create_task(summaries.run())

    async def stands() -> Summary | None:
        made = await standing_summary(talk.postgres, talk.conversation)
        session = await talk.session()
        return made if made.upto_turn > past.summary.upto_turn and session.summary == made else None

    try:
        return Summary(*msgspec.structs.astuple(await wait_until(stands, of="a summary")))
    finally:
        making.cancel()


def by_itself(talk: Talk, **models: str) -> Summaries:
    """Summaries of the models these settings name; without any, of what is too weak for them."""
    router = build_router(talk.config.model_copy(update=models or {"model_url": NOBODY, "model_name": "bundled/x"}))
    return Summaries(talk.memory, router, window=Window(WINDOW, 1024), at=0.5)


async def test_a_long_past_is_folded_into_a_summary_that_redis_and_rows_share(talk: Talk) -> None:
    for number in range(8):
        past = await talk.exchange(f"{number}. {LONG}")
    turn = await talk.ask("And Linz?")
    made = await summarised(talk, by_itself(talk), past, turn)
    assert made.text.startswith("- 0.\n- 1.")
    hot = await talk.memory.recall(turn)
    await talk.forget()
    cold = await talk.memory.recall(turn)
    assert (hot.source, cold.source) == ("redis", "rows")
    assert hot.summary == cold.summary == made
    told = prompt_of(hot, "And Linz?")
    assert told == prompt_of(cold, "And Linz?")
    assert made.text in told[0].text
    assert told[1].text.startswith(f"{made.upto_turn}. "), "word for word goes on where the summary ends"


async def test_a_summary_is_written_by_the_model_from_the_one_before_and_what_was_said_since(
    talk: Talk, provider: FakeProvider
) -> None:
    summaries = by_itself(talk, model_url=f"{provider.url}/v1", model_name="writer")
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


async def test_a_failed_summary_only_leaves_older_messages_out_and_is_made_at_a_later_turn(talk: Talk) -> None:
    failing = by_itself(talk, model_url="http://127.0.0.1:1/v1", model_name="gone")
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
    assert (await standing_summary(talk.postgres, talk.conversation)).upto_turn == 0
    told = prompt_of(await talk.memory.recall(turn), "And Linz?")
    assert 3 <= len(told) < 16
    await summarised(talk, by_itself(talk), past, turn)


async def test_an_older_summary_never_replaces_a_newer_one(talk: Talk) -> None:
    for _ in range(3):
        await talk.exchange()
    turn = await talk.ask("And Linz?")
    newer = await talk.memory.summarise(turn, Summary(3, "Newer.", "m"))
    assert newer == Summary(3, "Newer.", "m")
    for late in (Summary(2, "Older."), Summary(3, "The same, again.")):
        assert await talk.memory.summarise(turn, late) == newer
    assert (await talk.session()).summary == newer
    key = talk.redis.keys.session(talk.conversation)
    stale = json.dumps({"upto_turn": 2, "text": "Older.", "model": ""})
    assert await talk.redis.call("patch_session", [key], [60, "$.summary.upto_turn", "[2]", "$.summary", stale]) == 0
    assert (await talk.memory.recall(turn)).summary == newer


async def test_a_summary_that_another_agent_made_meanwhile_is_taken_over(talk: Talk) -> None:
    for _ in range(8):
        past = await talk.exchange()
    turn = await talk.ask("And Linz?")
    await talk.memory.summarise(turn, Summary(7, "By another agent.", "m"))
    await talk.redis.data.json().set(
        talk.redis.keys.session(talk.conversation), "$.summary", {"upto_turn": 0, "text": "", "model": ""}
    )
    assert await summarised(talk, by_itself(talk), past, turn) == Summary(7, "By another agent.", "m")


async def test_a_deleted_conversation_gets_no_summary(talk: Talk) -> None:
    await talk.exchange()
    turn = await talk.ask("And Linz?")
    await talk.postgres.rows("delete_conversation", conversation=talk.conversation, tenant="t", user=talk.user.id)
    assert await talk.memory.summarise(turn, Summary(1, "Of Ulm.")) == Summary()
