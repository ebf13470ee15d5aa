"""The runner as the keeper's child: one boot a life; when it ends, its work goes back before the next one starts."""

import asyncio
import contextlib
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable

from agent_image.shared_page import SharedPage
from appliance.core import logs
from appliance.core.clock import monotonic
from appliance.core.records import Status

log = logs.get("keeper")
STOP_WITHIN_S = 15.0
"""A runner that was asked to end may hand its work back this long before it is killed."""
_QUICK_DEATH_S = 5.0
_MAX_PAUSE_S = 10.0


class Child:
    """Starts the runner again and again, each time as a new boot."""

    def __init__(self, page: SharedPage, port: int) -> None:
        self._page = page
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self.stopping = False
        """Whether it was asked to end for good."""
        self.boot = ""
        self._spared = False

    @property
    def pid(self) -> int:
        """Process id of the runner, 0 while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def run(
        self, register: Callable[[str], Awaitable[None]], ended: Callable[[str, str, bool], Awaitable[None]]
    ) -> None:
        """Keep a runner alive until `stop`; `register` before each boot, `ended(boot, reason, crashed)` after it.

        It crashed when it ended by itself, or was killed for standing still: what it ran may be why.
        """
        pause_s = 0.0
        while not self.stopping:
            self.boot = str(uuid.uuid4())
            await register(self.boot)
            started = monotonic()
            code = await self._live(self.boot)
            reason = "stopped" if self.stopping else f"runner ended by itself ({_word(code)})"
            await ended(self.boot, reason, not (self.stopping or self._spared))
            quick = monotonic() - started < _QUICK_DEATH_S
            pause_s = min(_MAX_PAUSE_S, pause_s * 2 + 0.5) if quick else 0.0
            if pause_s and not self.stopping:
                log.warning("runner_pause", seconds=pause_s, code=code)
                await asyncio.sleep(pause_s)

    async def _live(self, boot: str) -> int:
        page = self._page
        self._spared = False
        page.status, page.load, page.queued, page.reigning, page.drained = Status.STARTING, 0, 0, 0, 0
        page.loop_tick = 0.0
        # Spawned from the main thread: the runner asks to be killed when this thread ends (PR_SET_PDEATHSIG).
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent_image.runner", boot, str(self._page.descriptor), str(self._port),
            pass_fds=[self._page.descriptor],
        )  # fmt: skip
        log.info("runner_started", boot=boot, pid=self._process.pid)
        code = await self._process.wait()
        page.status, page.reigning, page.loop_tick = Status.FAILED, 0, 0.0
        return code

    async def stop(self) -> None:
        """End the runner for good: it hands its work back, or is killed after STOP_WITHIN_S."""
        self.stopping = True
        await self._end(signal.SIGTERM)

    async def replace(self, *, crashed: bool) -> None:
        """Kill this runner at once; `run` starts the next boot."""
        self._spared = not crashed
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            log.warning("runner_killed", pid=process.pid, after_s=STOP_WITHIN_S)
            process.kill()


def _word(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
