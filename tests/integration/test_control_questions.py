"""What operators see of the questions that people are asked."""

from collections.abc import AsyncIterator

import pytest

from appliance.core.postgres import Postgres
from control_plane.queries.questions import QuestionReads
from tests.letters import Letters
from tests.stores import Stores


@pytest.fixture
async def letters(stores: Stores) -> AsyncIterator[Letters]:
    postgres = Postgres(await stores.with_own_database(), application="test")
    await postgres.open()
    made = Letters(postgres)
    await made.open()
    yield made
    await postgres.aclose()


async def test_open_questions_come_first_the_oldest_of_them_before_the_others(letters: Letters) -> None:
    _, first = await letters.question(tool="send")
    turn, second = await letters.question(tool="pay", by="bob", about=1)
    await letters.question(tool="call")
    await letters.approvals.answer(await letters.user("bob"), turn.conversation_id, second.id, "happened")
    view = await QuestionReads(letters.postgres).view()
    assert [(it.tool, it.person, it.about) for it in view.open] == [("send", "ada", 0), ("call", "ada", 0)]
    assert str(view.open[0].id) == first.id
    assert view.open[0].input == {"to": "ada@example.org", "what": "<b>hello</b>"}
    (answered,) = view.closed
    assert (answered.tool, answered.answer, answered.answered_by) == ("pay", "happened", "bob")
    assert str(answered.task) == turn.id


async def test_a_cancelled_turn_shows_its_question_as_withdrawn(letters: Letters) -> None:
    turn, _ = await letters.question()
    await letters.turns.cancel(await letters.user(), turn.id)
    view = await QuestionReads(letters.postgres).view()
    assert (view.open, [it.answer for it in view.closed]) == ((), ["withdrawn"])


async def test_where_nobody_is_asked_anything_there_is_nothing(letters: Letters) -> None:
    view = await QuestionReads(letters.postgres).view()
    assert (view.open, view.closed) == ((), ())
