"""Falling back with a reason, and coming back, against two real HTTP servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest

from agent_image.runner.llm import ChatMessage, Chunk, Finish, ModelClient, ModelRequest, Route, Router, Usage
from agent_image.runner.llm.anthropic import ClaudeClient
from agent_image.runner.llm.breaker import FIRST_PAUSE_S
from agent_image.runner.llm.openai import OpenAIClient
from agent_image.runner.llm.router import build_router
from appliance.core.errors import ModelAway, ModelBroke, ModelBusy, ModelError, ModelRefused
from appliance.core.settings import load
from tests.fakes.models import FakeProvider, expected_text

MODEL = "claude-sonnet-5"
CLAUDE = f"claude/{MODEL}"


class Answer(msgspec.Struct):
    route: Route
    text: str
    finish: Finish


class House:
    """A local model, a Claude, and a router over both whose clock the test turns."""

    def __init__(self, local: FakeProvider, claude: FakeProvider) -> None:
        self.local, self.claude, self.now = local, claude, 0.0
        self.settings = load(
            model_url=local.url + "/v1",
            anthropic_url=claude.url,
            anthropic_api_key="sk-very-secret-key",
            anthropic_model=MODEL,
            model_silence_timeout=0.5,
            model_connect_timeout=1.0,
        )
        clients: list[ModelClient] = [
            OpenAIClient(self.settings.model_url, self.settings, model="bundled"),
            ClaudeClient(self.settings),
        ]
        self.router = Router(clients, max_chars=1000, monotonic=lambda: self.now)

    async def ask(self, message: str, max_tokens: int = 500) -> Answer:
        request = ModelRequest((ChatMessage("user", message),), max_tokens, idem_key="k")
        async with aclosing(self.router.stream(request)) as parts:
            route = await anext(parts)
            rest = [part async for part in parts]
        *chunks, finish = rest
        assert isinstance(route, Route)
        assert isinstance(finish, Finish)
        return Answer(route, "".join(chunk.text for chunk in chunks if isinstance(chunk, Chunk)), finish)


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[tuple[FakeProvider, FakeProvider]]:
    async with FakeProvider() as local, FakeProvider() as claude:
        yield local, claude


@pytest.fixture
async def house(servers: tuple[FakeProvider, FakeProvider]) -> AsyncIterator[House]:
    for server in servers:
        await server.reset()
    house = House(*servers)
    yield house
    await house.router.aclose()


async def test_the_local_model_answers_first_and_claude_is_not_asked(house: House) -> None:
    answer = await house.ask("hello [[tokens=5]]")

    assert answer.route == Route("bundled")
    assert answer.text == expected_text("hello [[tokens=5]]")
    assert answer.finish == Finish(Usage(2, 5), "stop")
    assert await house.claude.calls() == []


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("status=500", "bundled failed with an internal error (HTTP 500)"),
        ("status=429", "bundled has no capacity at the moment"),
        ("status=401", "bundled does not accept the key it was given (HTTP 401)"),
        ("hang", "bundled said nothing for 0.5 s"),
        ("break_after=0", "bundled stopped before its answer was complete"),
    ],
)
async def test_a_fallback_tells_its_reason(house: House, mode: str, why: str) -> None:
    await house.local.mode(mode)

    answer = await house.ask("hello")

    assert answer.route == Route(CLAUDE, f"{why}, fell back to {CLAUDE}")
    assert answer.text == expected_text("hello")


async def test_a_local_model_that_is_gone_falls_back_and_comes_back_by_itself(house: House) -> None:
    await house.local.stop()
    reason = f"bundled could not be reached, fell back to {CLAUDE}"
    assert (await house.ask("one")).route == Route(CLAUDE, reason)
    await house.local.start()

    # Still paused: not even tried, the reason still told.
    assert (await house.ask("two")).route == Route(CLAUDE, reason)
    assert house.router.models()[0].paused
    house.now += FIRST_PAUSE_S

    assert (await house.ask("three")).route == Route("bundled")
    assert not house.router.models()[0].paused
    assert [call["message"] for call in await house.local.calls()] == ["three"]


async def test_one_call_probes_while_the_others_stay_with_the_fallback(house: House) -> None:
    await house.local.mode("status=503")
    await house.ask("first")
    await house.local.reset()
    house.now += FIRST_PAUSE_S

    message = "[[first=200ms]]"
    answers = await asyncio.gather(*(house.ask(message) for _ in range(5)))

    assert sorted(answer.route.model for answer in answers) == ["bundled", *[CLAUDE] * 4]
    assert len(await house.local.calls()) == 1


async def test_a_cancelled_probe_leaves_the_way_free_for_the_next(house: House) -> None:
    await house.local.mode("status=503")
    await house.ask("first")
    await house.local.mode("hang")
    house.now += FIRST_PAUSE_S
    probe = asyncio.create_task(house.ask("probe"))
    async with asyncio.timeout(3):
        while not await house.local.calls("probe"):
            await asyncio.sleep(0.01)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await house.local.mode("")

    assert (await house.ask("next")).route == Route("bundled")


@pytest.mark.parametrize("trouble", ["break_after=3", "hang_after=3", "error_after=3", "garbage_after=3"])
async def test_after_the_first_words_nobody_else_is_asked(house: House, trouble: str) -> None:
    # The delay lets the words arrive before the trouble does.
    with pytest.raises(ModelBroke, match="in the middle"):
        await house.ask(f"[[{trouble} delay=10ms]]")

    assert await house.claude.calls() == []


async def test_a_message_no_model_may_accept_is_refused_and_not_sent_to_claude(house: House) -> None:
    with pytest.raises(ModelRefused, match="scripted error 400"):
        await house.ask("[[status=400]]")

    assert await house.claude.calls() == []
    assert not house.router.models()[0].paused


async def test_when_every_model_fails_the_error_tells_of_each(house: House) -> None:
    with pytest.raises(ModelBusy) as caught:
        await house.ask("[[status=429 retry_after=9]]")

    assert caught.value.detail.count("has no capacity") == 2
    assert caught.value.data["retry_after"] == 9.0


async def test_paused_models_are_asked_all_the_same_when_there_is_no_other(house: House) -> None:
    with pytest.raises(ModelError):
        await house.ask("[[status=429 retry_after=9]]")

    assert (await house.ask("hello")).text == expected_text("hello")


@pytest.mark.parametrize("max_tokens", [20, 10_000], ids=["tokens", "characters"])
async def test_an_endless_answer_is_cut_and_the_call_ended(house: House, max_tokens: int) -> None:
    message = "[[endless]]"

    answer = await house.ask(message, max_tokens)

    assert answer.finish.finish_reason == "cut"
    assert len(answer.text) <= 1000
    assert answer.finish.usage.estimated
    async with asyncio.timeout(3):
        while not (await house.local.calls(message))[-1]["aborted"]:
            await asyncio.sleep(0.01)


async def test_what_no_row_can_keep_is_replaced_before_anybody_reads_it(house: House) -> None:
    answer = await house.ask("[[word=a\x00b tokens=2]]")
    assert answer.text == "a\ufffdb1 a\ufffdb2"


async def test_closing_the_routers_stream_ends_the_call_at_the_provider(house: House) -> None:
    request = ModelRequest((ChatMessage("user", "[[tokens=100 delay=50ms]]"),), 500, idem_key="k")
    async with aclosing(house.router.stream(request)) as parts:
        await anext(parts)
        await anext(parts)

    async with asyncio.timeout(3):
        while not (await house.local.calls())[-1]["aborted"]:
            await asyncio.sleep(0.01)


async def test_the_settings_decide_which_models_there_are() -> None:
    every = load(
        ollama_url="http://127.0.0.1:9",
        model_url="http://127.0.0.1:9/v1",
        anthropic_api_key="sk-x",
        anthropic_model=MODEL,
        ollama_model="llama3",
    )
    router = build_router(every)
    assert [model.name for model in router.models()] == ["ollama/llama3", "bundled", CLAUDE]
    await router.aclose()


async def test_without_any_model_the_error_says_what_to_set() -> None:
    router = build_router(load())
    request = ModelRequest((ChatMessage("user", "hello"),), 10, idem_key="k")

    with pytest.raises(ModelAway, match="set MODEL_URL"):
        await anext(router.stream(request))
