"""What a tool's author writes, and what comes of it."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta

from agent_image.runner.tools.tool import Call, make, registered, tool
from agent_image.runner.tools.toolbox import Toolbox, fill
from appliance.core.errors import BadInput


async def send(
    call: Call, to: Annotated[str, Meta(description="whom")], how: Literal["post", "mail"] = "mail", copies: int = 1
) -> str:
    """Send something.

    Nobody can take it back.
    """
    return f"{to} {how} {copies}"


def test_the_model_reads_the_docstring_and_a_schema_of_the_parameters() -> None:
    spec = make(send, "side_effecting").spec
    assert (spec.name, spec.description) == ("send", "Send something.\n\nNobody can take it back.")
    assert spec.parameters["required"] == ["to"]
    assert spec.parameters["properties"]["to"] == {"type": "string", "description": "whom"}
    assert spec.parameters["properties"]["how"]["enum"] == ["mail", "post"]
    assert spec.parameters["additionalProperties"] is False


def test_arguments_are_checked_and_defaults_filled_in() -> None:
    assert make(send, "pure").read('{"to":"ada","copies":2}') == {"to": "ada", "how": "mail", "copies": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "[]",
        "nonsense",
        '{"to":1}',
        '{"to":"a","what":2}',
        '{"to":"a","how":"pigeon"}',
        '{"to":"\\u0000"}',
        '{"to":"\\ud800"}',
        '{"to":"\ud800"}',
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_reason(arguments: str) -> None:
    with pytest.raises(BadInput, match="The arguments of send do not fit: "):
        make(send, "pure").read(arguments)


def test_a_tool_without_a_docstring_is_refused_when_it_is_made() -> None:
    async def silent(call: Call) -> None:
        return None

    with pytest.raises(ValueError, match="silent needs a docstring"):
        make(silent, "pure")


def test_a_tool_has_to_say_what_it_changes() -> None:
    with pytest.raises(ValueError, match="pure, idempotent, side_effecting"):
        make(send, "harmless")  # type: ignore[arg-type]


def test_two_tools_of_one_name_are_refused() -> None:
    async def send_twice(call: Call) -> None:
        """Send."""

    async def other(call: Call) -> None:
        """Send otherwise."""

    other.__name__ = "send_twice"
    try:
        tool("pure")(send_twice)
        tool("pure")(send_twice)  # a module imported again is the same tool
        with pytest.raises(ValueError, match="two tools are called send_twice"):
            tool("pure")(other)
    finally:
        registered.pop("send_twice")


def test_a_tool_that_is_not_there_is_answered_with_those_that_are() -> None:
    box = Toolbox({"send": make(send, "pure")})
    with pytest.raises(BadInput, match="no tool 'fetch'; there are: send"):
        box.find("fetch")
    with pytest.raises(BadInput, match="there are: none"):
        Toolbox({}).find("fetch")


def test_built_in_tools_win_over_those_of_modules() -> None:
    ours = make(send, "pure")
    registered["send"] = make(send, "side_effecting")
    try:
        assert fill((), [ours]).find("send") is ours
    finally:
        registered.pop("send")
