"""From a `/multi` message to a plan, or to a refusal that names what is wrong."""

import pytest

from agent_image.runner.multi.message import is_multi, read
from agent_image.runner.multi.plan import MAX_CHILDREN, MAX_DEPTH, Limits, Node, Plan
from appliance.core.errors import BadInput

GOOD = """/multi Is SQLite enough for us?
limits: tokens=20000 seconds=300
- facts = researcher (or retry): What are its limits?
- researcher: What does our load look like?

- critic = reviewer (after facts, researcher; or stop): Where do the two not fit?
- researcher (needs web, gpu): What do others say?"""


def explicit(text: str) -> Plan:
    plan = read(text)
    assert isinstance(plan, Plan)
    return plan


def test_a_plan_is_read_with_names_roles_and_order() -> None:
    plan = explicit(GOOD)
    assert plan.limits == Limits(tokens=20_000, seconds=300)
    assert plan.goal == "Is SQLite enough for us?"
    assert plan.nodes == (
        Node("facts", "researcher", "What are its limits?", on_failure="retry"),
        Node("researcher", "researcher", "What does our load look like?"),
        Node("critic", "reviewer", "Where do the two not fit?", ("facts", "researcher"), "stop"),
        Node("researcher-2", "researcher", "What do others say?", needs=("gpu", "web")),
    )


def test_who_waits_for_nobody_begins_and_the_others_follow_as_these_settle() -> None:
    plan = explicit(GOOD)
    assert [node.id for node in plan.ready(set(), set())] == ["facts", "researcher", "researcher-2"]
    begun = {"facts", "researcher", "researcher-2"}
    assert plan.ready({"facts"}, begun) == []
    assert [node.id for node in plan.ready({"facts", "researcher"}, begun)] == ["critic"]


@pytest.mark.parametrize(
    ("text", "yes"),
    [("/multi x", True), (" /multi\nx", True), ("/multiply", False), ("/multi? x", True), ("what is /multi?", False)],
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
        (f"/multi goal\n- {'x' * 41} = builder: x", "Line 2: a name has up to 40"),
        (
            "/multi goal\n- a = builder (or panic): x",
            "Line 2: a sub-agent that fails may continue, retry, stop,",
        ),
        ("/multi goal\n- a = builder (needs A GPU): x", "Line 2: 'A GPU' is nothing an agent can have"),
        (
            "/multi goal\n- a = builder: x\n- b = builder (needs a): y",
            "b needs 'a', which is a sub-agent: write `after a`",
        ),
        ("/multi goal\n- a = builder (behind b): x", "Line 2: write `(after NAMES)`, `(or retry)`, "),
        ("/multi goal\n- a = builder (or stop; or retry): x", "not `(or retry)`"),
        ("/multi goal\nlimits: money=3\n- builder: x", "Line 2: write `limits: tokens=20000 seconds=300`"),
        ("/multi goal\nlimits: tokens=0\n- builder: x", "not `tokens=0`"),
        ("/multi goal\n- a = builder (after b): x", "a waits for 'b', which is not there; there are: a"),
        ("/multi goal\n- a = builder (after a): x", "a wait for each other in a circle"),
        ("/multi g\n- a = builder (after b): x\n- b = builder (after a): y", "a, b wait for each other in a circle"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(text)
    assert why in refused.value.detail


def test_limits_are_named() -> None:
    with pytest.raises(BadInput, match=f"{MAX_CHILDREN + 1} sub-agents are more than the {MAX_CHILDREN}"):
        read("/multi goal\n" + "\n".join("- builder: x" for _ in range(MAX_CHILDREN + 1)))
    chain = [f"- n{n} = builder{f' (after n{n - 1})' if n else ''}: x" for n in range(MAX_DEPTH + 1)]
    with pytest.raises(BadInput, match=f"n{MAX_DEPTH} is more than {MAX_DEPTH} steps deep"):
        read("/multi goal\n" + "\n".join(chain))
    assert len(explicit("/multi goal\n" + "\n".join(chain[:MAX_DEPTH])).nodes) == MAX_DEPTH


def test_several_limits_are_the_tightest_of_them() -> None:
    assert Limits(tokens=5).within(Limits(seconds=3)) == Limits(5, 3)
    assert Limits(tokens=5, seconds=2).within(Limits(tokens=4, seconds=3)) == Limits(4, 2)
    plan = explicit("/multi goal\nlimits: tokens=9\n- builder: x\nlimits: tokens=7 seconds=1")
    assert plan.limits == Limits(7, 1)


@pytest.mark.parametrize(
    ("tokens", "seconds", "why"),
    [
        (99, 9.9, ""),
        (100, 0.0, "its limit of 100 tokens is used up"),
        (0, 10.0, "its limit of 10 s is used up"),
        (1000, 1000.0, "its limit of 100 tokens is used up"),
    ],
)
def test_a_limit_that_is_reached_is_named(tokens: int, seconds: float, why: str) -> None:
    assert Limits(tokens=100, seconds=10).used_up(tokens, seconds) == why
    assert Limits().used_up(tokens, seconds) == ""
