"""Kinds of tasks that tests publish; a runner is given them by TASK_MODULES."""

import asyncio
import os
import signal
import time
from functools import cache
from typing import Any

import httpx2

from agent_image.runner.tasks.kinds import task_kind
from appliance.core.records import Task


@task_kind("nothing")
async def do_nothing(task: Task) -> dict[str, Any]:
    """Return what it was given."""
    return task.payload


@task_kind("sleep")
async def sleep(task: Task) -> dict[str, Any]:
    """Take so many seconds."""
    await asyncio.sleep(task.payload["seconds"])
    return {"attempt": task.attempt}


@task_kind("fail")
async def fail(task: Task) -> dict[str, Any]:
    """Fail as often as told, then succeed."""
    if task.fail_count < task.payload["times"]:
        raise ValueError(f"failed {task.fail_count + 1} times")
    return {"attempt": task.attempt}


@task_kind("where")
async def say_where(task: Task) -> dict[str, Any]:
    """Take a moment, then say which process ran it."""
    await asyncio.sleep(task.payload.get("seconds", 0.05))
    return {"pid": os.getpid(), "attempt": task.attempt}


@task_kind("effect")
async def have_an_effect(task: Task) -> dict[str, Any]:
    """Have something done outside in the middle of its time, with the same key at every try."""
    await asyncio.sleep(task.payload["seconds"] / 2)
    answer = await _client().post(task.payload["url"], headers={"idempotency-key": task.id})
    await asyncio.sleep(task.payload["seconds"] / 2)
    return {"effect": int(answer.text), "attempt": task.attempt}


@cache
def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=10)


@task_kind("poison")
async def poison(task: Task) -> dict[str, Any]:
    """End the process that runs it."""
    await asyncio.sleep(task.payload["after"])
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


@task_kind("hang")
async def hang(task: Task) -> dict[str, Any]:
    """Hold the event loop for good, as a regular expression can."""
    time.sleep(task.payload["seconds"])
    return {}
