"""From a `/multi` message to a plan, or to a refusal that names what is wrong."""

import pytest

from agent_image.runner.multi.plan import MAX_CHILDREN, MAX_DEPTH, Node, is_multi, parse
from appliance.core.errors import BadInput

GOOD = """/multi Is SQLite enough for us?
- facts = researcher: What are its limits?
- researcher: What does our load look like?

- critic = reviewer (after facts, researcher): Where do the two not fit?
- researcher: What do others say?"""


def test_a_plan_is_read_with_names_roles_and_order() -> None:
    plan = parse(GOOD)
    assert plan.goal == "Is SQLite enough for us?"
    assert plan.nodes == (
        Node("facts", "researcher", "What are its limits?"),
        Node("researcher", "researcher", "What does our load look like?"),
        Node("critic", "reviewer", "Where do the two not fit?", ("facts", "researcher")),
        Node("researcher-2", "researcher", "What do others say?"),
    )


def test_who_waits_for_nobody_begins_and_the_others_follow_as_these_settle() -> None:
    plan = parse(GOOD)
    assert [node.id for node in plan.ready(set(), set())] == ["facts", "researcher", "researcher-2"]
    begun = {"facts", "researcher", "researcher-2"}
    assert plan.ready({"facts"}, begun) == []
    assert [node.id for node in plan.ready({"facts", "researcher"}, begun)] == ["critic"]


@pytest.mark.parametrize(
    ("text", "yes"), [("/multi x", True), (" /multi\nx", True), ("/multiply", False), ("what is /multi?", False)]
)
def test_only_the_command_itself_asks_for_sub_agents(text: str, *, yes: bool) -> None:
    assert is_multi(text) is yes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/multi", "needs a goal"),
        ("/multi\n- researcher: x", "needs a goal"),
        ("/multi goal", "needs sub-agents"),
        ("/multi goal\nresearcher: x", "Line 2 is no sub-agent"),
        ("/multi goal\n- researcher:", "Line 2 is no sub-agent"),
        ("/multi goal\n- wizard: x", "Line 2: there is no role 'wizard'; there are: builder"),
        ("/multi goal\n- a = builder: x\n- a = builder: y", "Line 3: there are two sub-agents called 'a'"),
        ("/multi goal\n- a = builder (after b): x", "a waits for 'b', which is not there; there are: a"),
        ("/multi goal\n- a = builder (after a): x", "a wait for each other in a circle"),
        ("/multi g\n- a = builder (after b): x\n- b = builder (after a): y", "a, b wait for each other in a circle"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text)
    assert why in refused.value.detail


def test_limits_are_named() -> None:
    with pytest.raises(BadInput, match=f"{MAX_CHILDREN + 1} sub-agents are more than the {MAX_CHILDREN}"):
        parse("/multi goal\n" + "\n".join("- builder: x" for _ in range(MAX_CHILDREN + 1)))
    chain = [f"- n{n} = builder{f' (after n{n - 1})' if n else ''}: x" for n in range(MAX_DEPTH + 1)]
    with pytest.raises(BadInput, match=f"n{MAX_DEPTH} is more than {MAX_DEPTH} steps deep"):
        parse("/multi goal\n" + "\n".join(chain))
    assert len(parse("/multi goal\n" + "\n".join(chain[:MAX_DEPTH])).nodes) == MAX_DEPTH
