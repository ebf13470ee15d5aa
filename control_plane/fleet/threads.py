"""Threads for what only knows how to wait: few, and reads never stand behind a stop that takes its time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_READS, _CHANGES = 8, 16


class Threads:
    """Two small pools."""

    def __init__(self) -> None:
        self._reads = ThreadPoolExecutor(_READS, thread_name_prefix="fleet-reads")
        self._changes = ThreadPoolExecutor(_CHANGES, thread_name_prefix="fleet-changes")

    async def read(self, work: Callable[[], T]) -> T:
        """Run something quick."""
        return await asyncio.get_running_loop().run_in_executor(self._reads, work)

    async def change(self, work: Callable[[], T]) -> T:
        """Run something that may take as long as an agent's end."""
        return await asyncio.get_running_loop().run_in_executor(self._changes, work)

    def close(self) -> None:
        """Begin nothing more."""
        for pool in (self._reads, self._changes):
            pool.shutdown(wait=False, cancel_futures=True)
