"""A log that comes in blocking chunks as lines that can be waited for and left at any time."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

_AHEAD = 256
"""Lines read before anybody took them; then the reader waits."""
_END = None


async def lines_of(chunks: Any) -> AsyncIterator[str]:
    """Yield the lines in `chunks`, an iterable of bytes with `close()`; leaving closes it and ends its thread."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str | None](_AHEAD)

    def put(line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()

    def pump() -> None:
        with suppress(Exception):  # the connection was closed, here or there: that is the end of the log
            rest = b""
            for chunk in chunks:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    put(line.decode(errors="replace"))
            if rest:
                put(rest.decode(errors="replace"))
        with suppress(Exception):
            put(_END)

    threading.Thread(target=pump, name="log", daemon=True).start()
    try:
        while (line := await lines.get()) is not _END:
            yield line
    finally:
        with suppress(Exception):
            chunks.close()
        while not lines.empty():
            lines.get_nowait()
