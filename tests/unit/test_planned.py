"""Plans as models write them: how many can be read, and what is said of the others."""

from pathlib import Path

import pytest

from agent_image.runner.llm import ChatMessage
from agent_image.runner.multi.message import Unplanned, read
from agent_image.runner.multi.orchestration import EXPERIMENTAL, Stopped
from agent_image.runner.multi.plan import Limits, Node, Plan
from agent_image.runner.multi.planned import read_planned
from agent_image.runner.multi.planner import ASKED, ASKED_AGAIN, plan_of
from appliance.core.errors import BadInput

PLANS = Path(__file__).parents[1] / "plans" / "imitated.txt"
WISH = Unplanned("Do it", Limits(tokens=9))
GOOD = "- facts = researcher: Find it\n- critic = reviewer (after facts): Doubt it"
BAD = "- facts = wizard: Find it"


def written() -> dict[str, str]:
    """The plans by their titles."""
    _, *plans = PLANS.read_text().split("\n=== ")
    return {title: text for title, _, text in (plan.partition("\n") for plan in plans)}


def plan_in(text: str) -> Plan | None:
    try:
        return read_planned(WISH, text)
    except BadInput:
        return None


@pytest.mark.parametrize("title", written())
def test_each_plan_has_as_many_sub_agents_as_its_title_says(title: str) -> None:
    plan = plan_in(written()[title])
    assert (len(plan.nodes) if plan else 0) == int(title.split()[0])
    assert plan is None or plan.nodes[-1].after, "who needs whom was read"


def test_planning_stays_experimental_until_eighteen_of_twenty_plans_can_be_read() -> None:
    plans = written().values()
    valid = sum(plan_in(text) is not None for text in plans)
    assert (valid, len(plans)) == (15, 20)
    assert ("experimental" in EXPERIMENTAL) is (valid < 18)


@pytest.mark.parametrize(
    ("line", "node"),
    [
        ("- a = builder: x", Node("a", "builder", "x")),
        ("1. **a** = Builder (needs: nothing) - x: y", Node("a", "builder", "x: y")),
        ("- a = builder [on_failure: retry]: x", Node("a", "builder", "x", on_failure="retry")),
        ("- The Facts: researcher (or stop if it fails): x", Node("The-Facts", "researcher", "x", on_failure="stop")),
        ("- builder: `make` it **well**", Node("builder", "builder", "make it well")),
    ],
)
def test_a_decorated_line_is_the_plain_one(line: str, node: Node) -> None:
    assert read_planned(WISH, line).nodes == (node,)


def test_needs_are_read_in_whatever_words() -> None:
    for needs in ("(after a, b)", "(depends on a and b)", "(needs `a`, and `b`)", "[after: a & b; or continue]"):
        plan = read_planned(WISH, f"- a = custom: x\n- b = custom: y\n- c = builder {needs}: z")
        assert plan.nodes[2] == Node("c", "builder", "z", ("a", "b"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs sub-agents"),
        ("- a = builder: x\n- then somebody checks it", "Line 3 is no sub-agent"),
        ("- a = builder (if time allows): x", "Brackets hold `after NAMES` or `or retry`, not `if time allows`"),
        ("- a = builder", "Line 2 is no sub-agent"),
    ],
)
def test_what_is_not_understood_is_refused_and_not_left_out(text: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_planned(WISH, text)
    assert why in refused.value.detail


def test_the_goal_and_the_limits_are_the_person_s_not_the_model_s() -> None:
    plan = read_planned(WISH, f"/multi Something else\nlimits: tokens=99999\n{GOOD}")
    assert (plan.goal, plan.limits) == ("Do it", Limits(tokens=9))


@pytest.mark.parametrize("text", ["/multi?", "/multi? limits: tokens=3"])
def test_there_is_no_plan_without_a_goal(text: str) -> None:
    with pytest.raises(BadInput, match="needs a goal"):
        read(text)


def test_a_wish_has_a_goal_of_any_length_and_limits() -> None:
    assert read("/multi? Do\n- this\nlimits: seconds=5\nand that") == Unplanned(
        "Do\n- this\nand that", Limits(seconds=5)
    )


class Model:
    """Answers one text after another."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[ChatMessage, ...]] = []

    async def __call__(self, messages: tuple[ChatMessage, ...]) -> str:
        self.asked.append(messages)
        return self.answers.pop(0)


async def test_an_explicit_plan_asks_no_model() -> None:
    plan, planned = await plan_of(f"/multi Do it\n{GOOD}", model := Model())
    assert ([node.id for node in plan.nodes], planned, model.asked) == (["facts", "critic"], False, [])


async def test_a_plan_that_can_be_carried_out_is_asked_for_once() -> None:
    plan, planned = await plan_of("/multi? Do it", model := Model(GOOD))
    assert ([node.id for node in plan.nodes], planned) == (["facts", "critic"], True)
    (messages,) = model.asked
    assert messages[-1].text == f"Do it\n\n{ASKED}"


async def test_a_model_is_told_once_what_is_wrong_with_its_plan() -> None:
    plan, _ = await plan_of("/multi? Do it", model := Model(BAD, GOOD))
    assert len(plan.nodes) == 2
    *_, own, told = model.asked[1]
    assert (own.role, own.text) == ("assistant", BAD)
    assert "there is no role 'wizard'" in told.text
    assert told.text.endswith(ASKED_AGAIN)


async def test_a_plan_that_stays_impossible_is_shown_with_what_is_wrong() -> None:
    with pytest.raises(Stopped) as stopped:
        await plan_of("/multi? Do it", model := Model(BAD, "- a = builder (after b): x"))
    assert len(model.asked) == 2
    assert "a waits for 'b', which is not there" in stopped.value.text
    assert "    - a = builder (after b): x" in stopped.value.text
