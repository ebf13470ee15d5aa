"""The chat page: server-rendered, live by events, usable without JavaScript."""

from agent_image.runner.chat.pages import CHAT_HANDLERS

__all__ = ["CHAT_HANDLERS"]
