"""Both model clients against a real HTTP server that misbehaves on command."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import msgspec
import pytest

from agent_image.runner.llm import ChatMessage, Chunk, Finish, ModelClient, ModelRequest, ToolCall, ToolSpec, Usage
from agent_image.runner.llm.anthropic import ClaudeClient
from agent_image.runner.llm.openai import OpenAIClient
from appliance.core.errors import ModelAway, ModelBroke, ModelBusy, ModelError, ModelRefused, ModelSilent
from appliance.core.settings import Settings, load
from tests.fakes.models import FakeProvider, expected_text

KEY = "sk-very-secret-key"
SILENCE_S = 0.5


def settings(provider: FakeProvider) -> Settings:
    return load(
        model_url=provider.url + "/v1",
        model_api_key=KEY,
        anthropic_url=provider.url,
        anthropic_api_key=KEY,
        anthropic_model="claude-sonnet-5",
        model_silence_timeout=SILENCE_S,
        model_connect_timeout=1.0,
    )


def openai(provider: FakeProvider, model: str = "bundled") -> ModelClient:
    chosen = settings(provider)
    return OpenAIClient(chosen.model_url, chosen, model=model, key=chosen.model_api_key)


def claude(provider: FakeProvider) -> ModelClient:
    return ClaudeClient(settings(provider))


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def provider(server: FakeProvider) -> FakeProvider:
    await server.reset()
    return server


@pytest.fixture(params=[openai, claude], ids=["openai", "claude"])
async def client(request: pytest.FixtureRequest, provider: FakeProvider) -> AsyncIterator[ModelClient]:
    make: Callable[[FakeProvider], ModelClient] = request.param
    client = make(provider)
    yield client
    await client.aclose()


def ask(text: str, max_tokens: int = 100) -> ModelRequest:
    messages = (ChatMessage("system", "Be brief."), ChatMessage("user", text))
    return ModelRequest(messages, max_tokens, idem_key="turn-1/step-1", trace_id="trace-7")


async def answer(client: ModelClient, request: ModelRequest) -> tuple[str, Finish]:
    text = ""
    async with aclosing(client.stream(request)) as parts:
        async for part in parts:
            if isinstance(part, Finish):
                return text, part
            assert isinstance(part, Chunk)
            text += part.text
    raise AssertionError("the stream ended without a Finish")


async def until_ended(provider: FakeProvider, message: str) -> dict[str, object]:
    async with asyncio.timeout(3):
        while True:
            calls = await provider.calls(message)
            if calls and calls[-1]["ended"]:
                return calls[-1]
            await asyncio.sleep(0.01)


async def test_the_whole_answer_arrives_with_usage_and_finish_reason(client: ModelClient) -> None:
    message = "Hello [[tokens=30 delay=1ms]]"

    text, finish = await answer(client, ask(message))

    assert text == expected_text(message)
    assert finish == Finish(Usage(3, 30), "stop")


WEATHER = ToolSpec("weather", "Tell the weather.", {"type": "object", "properties": {"at": {"type": "string"}}})
ARGUMENTS = '{"at":"sea","days":[1,2]}'


async def test_a_call_of_a_tool_arrives_whole_and_its_result_reaches_the_provider(
    client: ModelClient, provider: FakeProvider
) -> None:
    words = f"How is it? [[tool=weather:{ARGUMENTS} quote]]"
    request = msgspec.structs.replace(ask(words), tools=(WEATHER,))
    async with aclosing(client.stream(request)) as parts:
        call, finish = [part async for part in parts]
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("weather", ARGUMENTS)
    assert isinstance(finish, Finish)
    assert finish.finish_reason == "tool_calls"

    said = ChatMessage("assistant", "", (call,)), ChatMessage("tool", "rain", answers=call.id)
    text, finish = await answer(client, msgspec.structs.replace(request, messages=(*request.messages, *said)))
    assert (text, finish.finish_reason) == ("rain", "stop")
    first, second = await provider.calls(words)
    assert (first["tools"], second["results"]) == (["weather"], ["rain"])


async def test_a_model_that_knows_no_tools_is_asked_without_them_from_then_on(provider: FakeProvider) -> None:
    client = openai(provider)
    request = msgspec.structs.replace(ask("[[no_tools tokens=2]]"), tools=(WEATHER,))
    assert [(await answer(client, request))[0] for _ in range(2)] == ["w1 w2", "w1 w2"]
    assert [call["tools"] for call in await provider.calls("[[no_tools tokens=2]]")] == [["weather"], [], []]
    await client.aclose()


async def test_the_bundled_model_is_never_told_of_tools(provider: FakeProvider) -> None:
    client = openai(provider, model="bundled/small")
    await answer(client, msgspec.structs.replace(ask("small [[tokens=2]]"), tools=(WEATHER,)))
    (call,) = await provider.calls("small [[tokens=2]]")
    assert call["tools"] == []
    await client.aclose()


async def test_an_answer_is_streamed_not_collected(client: ModelClient) -> None:
    await answer(client, ask("warm up"))  # the SDK is imported with the first call
    started = asyncio.get_running_loop().time()
    async with aclosing(client.stream(ask("[[tokens=5 delay=200ms]]"))) as parts:
        first = await anext(parts)

    assert isinstance(first, Chunk)
    assert asyncio.get_running_loop().time() - started < 0.5


async def test_an_answer_at_its_token_limit_says_so(client: ModelClient) -> None:
    text, finish = await answer(client, ask("[[tokens=50]]", max_tokens=7))

    assert text == expected_text("[[tokens=50]]", max_tokens=7)
    assert finish == Finish(Usage(1, 7), "length")


async def test_the_idempotency_key_the_trace_and_the_key_reach_the_provider(
    client: ModelClient, provider: FakeProvider
) -> None:
    await answer(client, ask("hello"))

    (call,) = await provider.calls("hello")
    assert (call["idem_key"], call["trace_id"], call["authorised"]) == ("turn-1/step-1", "trace-7", True)


async def test_closing_the_stream_ends_the_call_at_the_provider(client: ModelClient, provider: FakeProvider) -> None:
    message = "[[tokens=100 delay=50ms]]"
    async with aclosing(client.stream(ask(message))) as parts:
        await anext(parts)

    call = await until_ended(provider, message)
    assert call["aborted"]
    assert int(str(call["tokens"])) < 20


@pytest.mark.parametrize("message", ["[[hang]] cancel me", "[[tokens=100 delay=20ms]] cancel me"])
async def test_cancelling_the_task_ends_the_call_at_the_provider(
    client: ModelClient, provider: FakeProvider, message: str
) -> None:
    task = asyncio.create_task(answer(client, ask(message)))
    async with asyncio.timeout(5):
        while not await provider.calls(message):
            await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await until_ended(provider, message))["aborted"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("[[status=429 retry_after=7]]", ModelBusy),
        ("[[status=503]]", ModelBusy),
        ("[[status=529]]", ModelBusy),
        ("[[status=500]]", ModelBroke),
        ("[[status=400]]", ModelRefused),
        ("[[status=401]]", ModelRefused),
        ("[[status=404]]", ModelRefused),
        ("[[hang]]", ModelSilent),
        ("[[hang_after=3]]", ModelSilent),
        ("[[break_after=0]]", ModelBroke),
        ("[[break_after=5]]", ModelBroke),
        ("[[end_after=5]]", ModelBroke),
        ("[[error_after=5]]", ModelBroke),
        ("[[garbage_after=5]]", ModelBroke),
    ],
)
async def test_every_trouble_is_named_in_a_sentence_without_the_key(
    client: ModelClient, provider: FakeProvider, message: str, kind: type[ModelError]
) -> None:
    with pytest.raises(ModelError) as caught:
        await answer(client, ask(message))

    assert caught.type is kind
    assert client.name in caught.value.detail
    shown = "".join(traceback.format_exception(caught.value)) + repr(client) + repr(vars(caught.value))
    assert KEY not in shown
    assert provider.url not in caught.value.detail
    assert len(await provider.calls(message)) == 1, "nothing is retried down here"


async def test_busy_says_when_to_come_back(client: ModelClient) -> None:
    with pytest.raises(ModelBusy) as caught:
        await answer(client, ask("[[status=429 retry_after=7]]"))

    assert caught.value.data["retry_after"] == 7.0


async def test_after_any_trouble_the_next_call_works(client: ModelClient) -> None:
    for message in ("[[status=500]]", "[[break_after=2]]", "[[garbage_after=2]]", "[[hang_after=1]]"):
        with pytest.raises(ModelError):
            await answer(client, ask(message))

        assert (await answer(client, ask("well again")))[0] == expected_text("well again")


@pytest.mark.parametrize("make", [openai, claude])
async def test_a_server_that_is_gone_cannot_be_reached(make: Callable[[FakeProvider], ModelClient]) -> None:
    async with FakeProvider() as provider:
        client = make(provider)
        await answer(client, ask("hello"))
        await provider.stop()

        with pytest.raises(ModelAway):
            await answer(client, ask("hello again"))
        await client.aclose()


async def test_many_answers_at_once_do_not_mix(client: ModelClient) -> None:
    messages = [f"[[tokens=20 delay=2ms word=c{n}-]]" for n in range(40)]

    answers = await asyncio.gather(*(answer(client, ask(message)) for message in messages))

    assert [text for text, _ in answers] == [expected_text(message) for message in messages]


async def test_a_reader_that_pauses_longer_than_the_silence_limit_loses_nothing(provider: FakeProvider) -> None:
    client, message = openai(provider), "[[tokens=9000]]"
    async with aclosing(client.stream(ask(message, max_tokens=9000))) as parts:
        first = await anext(parts)
        assert isinstance(first, Chunk)
        # Not a wait for something: being slow is the subject.
        await asyncio.sleep(SILENCE_S * 2)
        rest = [part.text async for part in parts if isinstance(part, Chunk)]

    assert first.text + "".join(rest) == expected_text(message)
    await client.aclose()


async def test_without_a_model_name_the_first_listed_one_is_used_and_named(provider: FakeProvider) -> None:
    client = OpenAIClient(provider.url + "/v1", settings(provider), model="", family="ollama")

    await answer(client, ask("hello"))

    assert client.name == "ollama/fake-model"
    assert [call["model"] for call in await provider.calls("hello")] == ["fake-model"]
    await client.aclose()
