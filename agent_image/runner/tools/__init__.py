"""What a model may call. A tool is one decorated coroutine function:

    from typing import Annotated

    from msgspec import Meta

    from agent_image.runner.tools import Call, tool

    @tool("side_effecting", approval=True)
    async def send_mail(call: Call, to: Annotated[str, Meta(description="an e-mail address")], subject: str) -> str:
        '''Send an e-mail.'''
        await post("/mails", {"to": to, "subject": subject}, key=call.key)
        return "sent"

`TOOL_MODULES` names modules that bring tools; an installed package brings them by an entry point of the group
`nexus.tools` that names such a module.
"""

from agent_image.runner.tools.tool import Call, Tool, ToolFailed, make, tool

__all__ = ["Call", "Tool", "ToolFailed", "make", "tool"]
