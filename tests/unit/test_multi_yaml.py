"""A plan as a YAML document: the same plan as lines, and the same refusals by name."""

import pytest

from agent_image.runner.multi.document import MAX_CHARS
from agent_image.runner.multi.message import read
from agent_image.runner.multi.plan import Plan
from appliance.core.errors import BadInput

LINES = """/multi Is SQLite enough for us?
limits: tokens=20000 seconds=300
- facts = researcher (or retry): What are its limits?
- reviewer (after facts): What is missing?
- builder (needs gpu): How fast is it?
- verifier (after facts, reviewer; or stop): Is it true?"""
YAML = """/multi
goal: Is SQLite enough for us?
limits: {tokens: 20000, seconds: 300}
agents:
  - {id: facts, role: researcher, goal: "What are its limits?", on_failure: retry}
  - {role: reviewer, goal: "What is missing?", after: facts}
  - {role: builder, goal: "How fast is it?", needs: gpu}
  - role: verifier
    goal: Is it true?
    after: [facts, reviewer]
    on_failure: stop
"""
ONE = "/multi\ngoal: g\nagents:\n  - "


def test_a_document_and_lines_are_the_same_plan() -> None:
    assert read(YAML) == read(LINES)
    assert read(YAML.replace("goal: Is", "---\ngoal: Is", 1)) == read(LINES)


def test_names_are_text_whatever_yaml_would_make_of_them() -> None:
    plan = read(
        "/multi\ngoal: yes\nagents: [{id: 1, role: builder, goal: 2024-01-01}, {role: custom, goal: no, after: 1}]"
    )
    assert isinstance(plan, Plan)
    assert plan.goal == "yes"
    assert [(it.id, it.goal, it.after) for it in plan.nodes] == [("1", "2024-01-01", ()), ("custom", "no", ("1",))]


@pytest.mark.parametrize("text", ["/multi goal: x\n- builder: y", "/multi\nWhich goal: a or b?\n- builder: y"])
def test_a_goal_that_looks_like_a_document_is_a_goal(text: str) -> None:
    plan = read(text)
    assert isinstance(plan, Plan)
    assert [node.goal for node in plan.nodes] == ["y"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/multi\ngoal: x", "The plan needs `goal` and `agents`: Object missing required field `agents`"),
        ("/multi\ngoal: ' '\nagents: []", "`goal` is empty"),
        ("/multi\ngoal: x\nagents: []", "needs sub-agents"),
        ("/multi\ngoal: x\nagents: [\n", "of the YAML cannot be read"),
        ("/multi\ngoal: x\nagents: y", "Expected `array`, got `str` - at `$.agents`"),
        (f"{ONE}builder", "Agent 1: Expected `object`, got `str`"),
        (f"{ONE}{{id: a, role: builder}}", "Agent 1 (a): Object missing required field `goal`"),
        (f"{ONE}{{id: a, role: builder, goal: ''}}", "Agent 1 (a): its `goal` is empty"),
        (f"{ONE}{{id: a, role: wizard, goal: x}}", "Agent 1 (a): there is no role 'wizard'"),
        (f"{ONE}{{id: a, role: builder, goal: x, colour: red}}", "Agent 1 (a): Object contains unknown field `colour`"),
        (f"{ONE}{{id: a b, role: builder, goal: x}}", "Agent 1 (a b): a name has up to 40 letters"),
        (f"{ONE}{{id: a, role: builder, goal: x, on_failure: panic}}", "Agent 1 (a): a sub-agent that fails may"),
        (
            f"{ONE}{{id: a, role: builder, goal: x}}\n  - {{id: a, role: builder, goal: x}}",
            "Agent 2 (a): there are two",
        ),
        (f"{ONE}{{id: a, role: builder, goal: x, after: b}}", "a waits for 'b', which is not there"),
        (f"{ONE}{{id: a, role: builder, goal: x, after: [a]}}", "a wait for each other in a circle"),
        (f"{ONE}{{role: builder, goal: x}}\nlimits: {{money: 3}}", "`limits` has `tokens` and `seconds`"),
        (f"{ONE}{{role: builder, goal: x}}\nlimits: {{tokens: 0}}", "not `tokens: 0`"),
        (f"{ONE}{{role: builder, goal: x}}\nlimits: {{tokens: many}}", "Expected `int`, got `str`"),
        ("/multi\ngoal: " + "x" * MAX_CHARS, f"at most {MAX_CHARS:,} characters"),
        ("/multi\ngoal: " + "[" * (MAX_CHARS - 10), "nested too deeply"),
        ("/multi\ngoal: !!python/object/apply:os.getcwd []\nagents: []", "Expected `str`, got `array`"),
        ("/multi\ngoal: &a [*a]\nagents: []", "found unconstructable recursive node"),
    ],
)
def test_a_document_that_is_no_plan_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(text)
    assert why in refused.value.detail
