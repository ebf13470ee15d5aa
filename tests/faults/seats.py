"""Who may act as primary (I3), and who takes no tasks: read from the page of memory of each keeper."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from agent_image.shared_page import SharedPage
from appliance.core.clock import monotonic
from tests.cluster import Cluster

LOOK_S = 0.01
_NAME = "nexus-agent-page"


class Seat(msgspec.Struct, frozen=True):
    """An agent that may act as primary at this moment."""

    agent: str
    epoch: int


class Overlap(msgspec.Struct, frozen=True):
    """Two agents that might act as primary at one moment."""

    older: Seat
    newer: Seat


class Seats:
    """Looks at all pages every 10 ms, from `begin` to `end`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pages: dict[int, SharedPage] = {}
        self._task: asyncio.Task[None] | None = None
        self.overlaps: set[tuple[Seat, Seat]] = set()

    def begin(self) -> None:
        """Start to look."""
        self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for page in self._pages.values():
            os.close(page.descriptor)

    async def _run(self) -> None:
        while True:
            taken = self.taken()
            self.overlaps |= {(a, b) for a in taken for b in taken if a.epoch < b.epoch}
            await asyncio.sleep(LOOK_S)

    def taken(self) -> list[Seat]:
        """Return who may act as primary now; more than one only where I3 allows it."""
        now = monotonic()
        found = []
        for agent, pid in self._cluster.keepers().items():
            page = self._page_of(pid)
            if page is not None and page.may_act_as_primary(now):
                found.append(Seat(agent, page.epoch))
        return found

    def braked(self) -> list[str]:
        """Return who leaves tasks to the others now, since its runners died."""
        pages = {agent: self._page_of(pid) for agent, pid in self._cluster.keepers().items()}
        return [agent for agent, page in pages.items() if page is not None and page.brakes(monotonic())]

    def _page_of(self, pid: int) -> SharedPage | None:
        if pid not in self._pages:
            with suppress(OSError):
                for link in Path(f"/proc/{pid}/fd").iterdir():
                    if _NAME in str(link.readlink()):
                        self._pages[pid] = SharedPage(os.open(link, os.O_RDWR))
                        break
        return self._pages.get(pid)
