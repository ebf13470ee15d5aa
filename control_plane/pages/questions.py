"""What people are asked, for whoever wonders why a turn waits. Only the person who is asked may answer: in the chat."""

from datetime import UTC, datetime

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response

from control_plane.pages.common import Asked, Reads, framed
from control_plane.queries.questions import QuestionReads, QuestionsView

Questions = NamedDependency[SkipValidation[QuestionReads]]


@get("/control/questions", operation_id="questions_page", include_in_schema=False)
async def questions(request: Asked, queries: Reads, question_reads: Questions) -> Response[str]:
    """What is open, and what came of the rest."""
    view = await question_reads.view()
    return await framed(request, "questions.html", queries, view=view, today=datetime.now(UTC).date())


@get("/control/api/v1/questions", operation_id="get_questions")
async def questions_json(question_reads: Questions) -> QuestionsView:
    """The same as JSON."""
    return await question_reads.view()


HANDLERS = [questions, questions_json]
