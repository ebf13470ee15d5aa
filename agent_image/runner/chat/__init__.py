"""The chat page."""

from typing import Any

CHAT_HANDLERS: list[Any] = []
