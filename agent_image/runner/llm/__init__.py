"""Access to language models: one protocol, two clients, a router that falls back and comes back."""

from agent_image.runner.llm.base import (
    ChatMessage,
    Chunk,
    Finish,
    ModelClient,
    ModelRequest,
    Route,
    ToolCall,
    ToolSpec,
    Usage,
    is_weak,
)
from agent_image.runner.llm.router import Router, build_router

__all__ = [
    "ChatMessage",
    "Chunk",
    "Finish",
    "ModelClient",
    "ModelRequest",
    "Route",
    "Router",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "build_router",
    "is_weak",
]
