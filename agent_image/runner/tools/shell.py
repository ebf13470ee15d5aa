"""The tool `terminal_execute`: one command in the box of `terminal`, once its user has allowed it (DESIGN 12)."""

from typing import Annotated

from msgspec import Meta

from agent_image.runner.tools import terminal
from agent_image.runner.tools.tool import Call, Tool, ToolFailed, make
from appliance.core.errors import NexusError

SLACK_S = 10.0
"""To make the box and to clear it away, beyond what its command may take."""


async def terminal_execute(_call: Call, command: Annotated[str, Meta(description="one command of bash")]) -> str:
    """Run a shell command, in a box without network, in an empty folder that is gone afterwards."""
    try:
        ran = await terminal.run(command)
    except NexusError as error:
        raise ToolFailed(error.detail) from None
    ended = "it was ended" if ran.exit_code is None else f"exit code {ran.exit_code}"
    return f"{ended}, {ran.seconds:.1f} s\n{ran.output}"


def shell() -> Tool:
    """Return the tool. It is `pure`: whatever a command does goes away with its box."""
    return make(terminal_execute, "pure", approval=True, limit_s=terminal.Limits().seconds + SLACK_S)
