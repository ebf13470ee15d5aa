"""No secret reaches a log (invariant I17)."""

import json
import subprocess
import sys

import pytest

from appliance.core.logs import redact


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_password", "hunter2"),
        ("error", "cannot reach redis://:hunter2@localhost"),
        ("path", "/login/hunter2"),
        ("api_key", "hunter2"),
        ("session_token", "hunter2"),
    ],
)
def test_a_secret_is_blanked(name: str, value: str) -> None:
    assert "hunter2" not in str(redact(None, "info", {name: value}))


def test_ordinary_facts_stay() -> None:
    assert redact(None, "info", {"event": "beat", "agent": "agent-1"}) == {"event": "beat", "agent": "agent-1"}


LIBRARIES = """
import asyncio, logging
from appliance.core import logs
logs.configure("info", agent="agent-1")
logging.getLogger("psycopg.pool").warning("cannot reach %s", "postgresql://me:hunter2@stores")
logging.getLogger("psycopg.pool").info("idle")
async def forget():
    asyncio.get_running_loop().create_future().set_exception(OSError("redis://:hunter2@stores is away"))
asyncio.run(forget())
"""


def test_what_libraries_log_is_a_line_like_ours_and_as_secret() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, text=True, check=True)
    pool, future = map(json.loads, done.stderr.splitlines())
    assert (pool["component"], pool["level"], pool["agent"]) == ("psycopg.pool", "warning", "agent-1")
    assert pool["said"] == "cannot reach postgresql://me:[redacted]@stores"
    assert future["component"] == "asyncio"
    assert "OSError" in future["exception"]
    assert "hunter2" not in done.stderr
