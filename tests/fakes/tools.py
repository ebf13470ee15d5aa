"""Tools that tests let a model call; a runner is given them by TOOL_MODULES."""

import asyncio
import os
from functools import cache
from typing import Annotated

import httpx2
from msgspec import Meta

from agent_image.runner.tools import Call, ToolFailed, tool


async def _act(call: Call, words: str, hold: float) -> str:
    headers = {"Idempotency-Key": call.key}
    async with httpx2.AsyncClient(trust_env=False, timeout=300) as http:
        await http.post(f"{os.environ['OUTSIDE_URL']}/act?hold={hold}", content=words, headers=headers)
    return f"did {words}"


@tool("side_effecting")
async def act(call: Call, words: Annotated[str, Meta(description="what to do")], hold: float = 0) -> str:
    """Do something outside that cannot be undone."""
    return await _act(call, words, hold)


@tool("side_effecting")
async def charge(call: Call, seconds: float) -> str:
    """Have something done outside in the middle of its time."""
    await asyncio.sleep(seconds / 2)
    answer = await _client().post(os.environ["OUTSIDE_URL"], headers={"idempotency-key": call.key})
    await asyncio.sleep(seconds / 2)
    return f"charged as number {answer.text}"


@cache
def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(trust_env=False, timeout=10)


@tool("idempotent")
async def put(call: Call, words: str, hold: float = 0) -> str:
    """Do something outside that is the same when it is done again with its key."""
    return await _act(call, words, hold)


@tool("side_effecting", approval=True)
async def ask_first(call: Call, words: str) -> str:
    """Do something outside that its user has to allow."""
    return await _act(call, words, 0)


@tool("side_effecting")
async def break_off(call: Call, words: str) -> str:
    """Do something outside and lose the connection."""
    await _act(call, words, 0)
    raise ConnectionError("gone")


@tool("side_effecting")
async def decline(call: Call) -> str:
    """Say that nothing was done."""
    raise ToolFailed("the shop is closed")


@tool("pure")
async def measure(call: Call, of: str) -> dict[str, int]:
    """Count characters."""
    return {"length": len(of)}
