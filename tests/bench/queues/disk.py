"""The disk below the stores: what a flush takes there, and whether memory can take its place."""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

BLOCK = bytes(8192)
"""What a commit flushes at least: one page of PostgreSQL's log."""
MEMORY, ENOUGH = Path("/dev/shm"), 1 << 30


def in_memory(place: Path = MEMORY) -> Path | None:
    """Return a folder whose files are in memory, or None where there is none with 1 GB free."""
    return place if place.is_mount() and shutil.disk_usage(place).free > ENOUGH else None


async def flushes_ms(folder: Path, per_s: float, count: int) -> list[float]:
    """Flush a block so often, one after the other at that pace; return how long each took.

    The file has its length beforehand, as PostgreSQL's log has: a flush writes the block and no size.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(BLOCK * count)
        await asyncio.to_thread(os.fsync, file.fileno())
        began, found = time.perf_counter(), []
        for number in range(count):
            # The pace, as of an open load: nothing is waited for.
            await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
            found.append(await asyncio.to_thread(_flush, file.fileno(), number))
    return found


def _flush(file: int, number: int) -> float:
    began = time.perf_counter()
    os.pwrite(file, BLOCK, number * len(BLOCK))
    os.fdatasync(file)
    return (time.perf_counter() - began) * 1000
