"""Which model is asked next, and how a model that failed comes back."""

from hypothesis import given
from hypothesis import strategies as st

from agent_image.runner.llm.breaker import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LONGEST_WISH_S,
    Breaker,
    next_model,
    why_not_preferred,
)
from appliance.core.errors import ModelAway, ModelBroke, ModelBusy, ModelError, ModelRefused

CLOSED = Breaker()
AWAY = ModelAway("bundled could not be reached.")


def test_the_preferred_model_is_asked_first_and_every_model_at_most_once() -> None:
    assert next_model([CLOSED, CLOSED], (), 0.0) == 0
    assert next_model([CLOSED, CLOSED], (0,), 0.0) == 1
    assert next_model([CLOSED, CLOSED], (0, 1), 0.0) is None
    assert next_model([], (), 0.0) is None


def test_a_model_that_failed_is_left_alone_until_its_pause_is_over() -> None:
    broken = CLOSED.failed(AWAY, now=100.0)

    assert next_model([broken, CLOSED], (), 100.0 + FIRST_PAUSE_S - 0.01) == 1
    assert next_model([broken, CLOSED], (), 100.0 + FIRST_PAUSE_S) == 0


def test_only_one_call_probes_a_model_that_may_be_back() -> None:
    probed = CLOSED.failed(AWAY, now=100.0).asked()

    assert next_model([probed, CLOSED], (), 200.0) == 1
    assert next_model([probed.left(), CLOSED], (), 200.0) == 0


def test_an_answer_opens_the_model_to_all_but_its_failures_count_until_the_answer_is_whole() -> None:
    answering = CLOSED.failed(AWAY, now=0.0).asked().answering()

    assert answering.ready(0.0)
    assert not answering.reason
    assert answering.failures == 1


def test_when_all_models_are_paused_the_one_due_soonest_is_asked_all_the_same() -> None:
    late, soon = Breaker(failures=5, retry_at=30.0), Breaker(failures=1, retry_at=10.0)

    assert next_model([late, soon], (), 0.0) == 1
    assert next_model([late, soon], (1,), 0.0) == 0


def test_pauses_double_up_to_a_limit_and_a_providers_wish_is_obeyed_within_reason() -> None:
    pauses, breaker = [], CLOSED
    for _ in range(8):
        breaker = breaker.failed(AWAY, now=0.0)
        pauses.append(breaker.retry_at)

    assert pauses[:3] == [FIRST_PAUSE_S, FIRST_PAUSE_S * 2, FIRST_PAUSE_S * 4]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert CLOSED.failed(ModelBusy(retry_after=7.0), now=1.0).retry_at == 8.0
    assert CLOSED.failed(ModelBusy(retry_after=86_400.0), now=0.0).retry_at == LONGEST_WISH_S


def test_one_broken_answer_does_not_pause_a_model_but_three_in_a_row_do() -> None:
    breaker = CLOSED
    for _ in range(2):
        breaker = breaker.answering().failed(ModelBroke(), now=0.0)
    assert breaker.ready(0.0)

    assert not breaker.answering().failed(ModelBroke(), now=0.0).ready(0.0)


def test_a_refused_message_says_nothing_against_the_model_but_a_refused_key_does() -> None:
    assert CLOSED.failed(ModelRefused(http=400), now=0.0) == CLOSED
    assert not CLOSED.failed(ModelRefused(http=401), now=0.0).ready(0.0)


def test_the_reason_names_what_happened_to_each_model_before_the_one_that_answers() -> None:
    paused = CLOSED.failed(AWAY, now=0.0)
    busy = ModelBusy("ollama/llama3 has no capacity at the moment.")

    assert why_not_preferred([paused, CLOSED], 0, [], "bundled") == ""
    assert why_not_preferred([paused, CLOSED], 1, [AWAY], "claude") == (
        "bundled could not be reached, fell back to claude"
    )
    assert why_not_preferred([paused, CLOSED, CLOSED], 2, [busy], "claude") == (
        "bundled could not be reached; ollama/llama3 has no capacity at the moment, fell back to claude"
    )


errors: st.SearchStrategy[ModelError] = st.sampled_from(
    [ModelAway(), ModelBroke(), ModelBusy(retry_after=3.0), ModelRefused(http=400), ModelRefused(http=404)]
)


@given(st.lists(errors, max_size=20), st.floats(0, 1000))
def test_whatever_happened_a_model_is_ready_again_within_the_longest_pause(
    history: list[ModelError], now: float
) -> None:
    breaker = CLOSED
    for error in history:
        breaker = breaker.failed(error, now)

    assert breaker.ready(now + LONGEST_WISH_S)


@given(st.lists(st.builds(Breaker, retry_at=st.floats(0, 9), probing=st.booleans()), max_size=5), st.floats(0, 9))
def test_every_model_is_asked_before_giving_up(breakers: list[Breaker], now: float) -> None:
    asked: list[int] = []
    while (index := next_model(breakers, asked, now)) is not None:
        asked.append(index)

    assert sorted(asked) == list(range(len(breakers)))
