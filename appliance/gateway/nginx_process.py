"""nginx as a child that never outlives its gateway, nor leaves workers behind that hold its port."""

import asyncio
import ctypes
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SHORT_LIFE_S = 1.0
"""An nginx that ends sooner would end again: its configuration or its port is wrong."""
SETTLED_S = 0.5
"""A younger nginx may lose a SIGHUP, or be ended by it: its master looks at signals only once it waits for them."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


class Nginx:
    """nginx in a folder that `nginx_config.render` prepared."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._command = (binary, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr")
        self._process: Process | None = None
        self._born = 0.0

    async def serve(self, stopping: asyncio.Event) -> bool:
        """Run nginx, and again when it dies, until `stopping`; False when it does not stay.

        Call it from the main thread: the kernel ties the child to that thread's life.
        """
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        told = asyncio.create_task(stopping.wait())
        while not told.done():
            self._born = time.monotonic()
            process = await asyncio.create_subprocess_exec(*self._command, preexec_fn=_dying_with(os.getpid()))
            self._process = process
            ended = asyncio.create_task(process.wait())
            await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
            await _end(process)
            if not told.done() and time.monotonic() - self._born < SHORT_LIFE_S:
                return False
        return True

    def reload(self) -> bool:
        """Let nginx read its configuration anew; open connections stay with the old workers. False: ask again later."""
        if self._process is None or time.monotonic() - self._born < SETTLED_S:
            return False
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGHUP)
        return True


def _dying_with(gateway: int) -> Callable[[], None]:
    def set_death_signal() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != gateway:
            os._exit(1)

    return set_death_signal


async def _end(process: Process) -> None:
    """End nginx and all its workers, also those whose master was killed."""
    with suppress(ProcessLookupError):
        process.terminate()
    await process.wait()
    _end_inherited()


def _end_inherited() -> None:
    """End workers whose master was killed: they are this process's now (subreaper), and they hold the port."""
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(int(pid), signal.SIGKILL)
            os.waitpid(int(pid), 0)
