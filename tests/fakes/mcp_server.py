"""A small MCP server: the real protocol, written down here once more so that both sides cannot share a mistake.

    count       reads only
    put         may be repeated
    act         says nothing of itself: writes its words to the file FOLDER/acts, then, the first time, holds
    refuse      fails in words
    see         reads only: which variables of the environment it sees
    rename      changes the list of tools

Run with FOLDER; NOISE=1 makes it write what is no message; DIES=1 ends it at once;
SLOW=S makes it answer S seconds late at first.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FOLDER"])
PAGE = 2


def _tool(name: str, needs: dict[str, str], **hints: bool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {it: {"type": kind} for it, kind in needs.items()}}
    return {"name": name, "description": f"To {name}.", "inputSchema": schema} | (
        {"annotations": hints} if hints else {}
    )


TOOLS = [
    _tool("count", {"of": "string"}, readOnlyHint=True),
    _tool("put", {"words": "string"}, readOnlyHint=False, idempotentHint=True, destructiveHint=False),
    _tool("act", {"words": "string", "hold": "number"}),
    _tool("refuse", {}),
    _tool("see", {}, readOnlyHint=True),
    _tool("rename", {}, readOnlyHint=True),
]


def _act(words: str, hold: float = 0) -> str:
    before = (FOLDER / "acts").read_text().splitlines() if (FOLDER / "acts").exists() else []
    with (FOLDER / "acts").open("a") as file:
        file.write(f"{os.getpid()} {words}\n")
    if not any(line.endswith(f" {words}") for line in before):
        time.sleep(hold)  # deaf to the end of its input, too
    return f"did {words}"


def _rename() -> str:
    TOOLS[-1] = _tool("renamed", {})
    _say({"method": "notifications/tools/list_changed"})
    return "renamed"


def _refuse() -> str:
    raise ValueError("the shop is closed")


DOES: dict[str, Callable[..., str]] = {
    "count": lambda of: str(len(of)),
    "put": _act,
    "act": _act,
    "refuse": _refuse,
    "see": lambda: " ".join(sorted(os.environ)),
    "rename": _rename,
}


def _called(params: dict[str, Any]) -> dict[str, Any]:
    try:
        text = DOES[params["name"]](**params.get("arguments", {}))
    except ValueError as error:
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}
    return {"content": [{"type": "text", "text": text}]}


def _answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        about = {"name": "fake", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": about}
    if method == "tools/list":
        start = int(params.get("cursor", 0))
        more = {"nextCursor": str(start + PAGE)} if start + PAGE < len(TOOLS) else {}
        return {"tools": TOOLS[start : start + PAGE]} | more
    return _called(params) if method == "tools/call" else {}


def _say(message: dict[str, Any]) -> None:
    if os.environ.get("NOISE"):
        sys.stdout.buffer.write(b'Listening!\n{"level": "info"}\n\xff\xfe\n\n')
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
    sys.stdout.buffer.flush()


def _main() -> None:
    (FOLDER / f"{os.getpid()}.pid").touch()
    if os.environ.get("DIES"):
        sys.exit("nothing to serve")
    time.sleep(float(os.environ.get("SLOW", "0")))
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            _say({"id": message["id"], "result": _answer(message["method"], message.get("params", {}))})


if __name__ == "__main__":
    _main()
