"""`python -m tests.dying_runners COMMAND NUMBER`: runners that are killed at every moment of making a box."""

import asyncio
import contextlib
import os
import signal
import sys
import time

from agent_image.runner.tools.terminal import Limits, run
from agent_image.runner.tools.terminal.filter import program

STEP_S = 0.0008


def one(command: str, after_s: float) -> None:
    """Begin a box in a process of its own, and kill that after so many seconds."""
    runner = os.fork()
    if runner == 0:
        with contextlib.suppress(BaseException):
            asyncio.run(run(command, Limits(seconds=300)))
        os._exit(0)
    time.sleep(after_s)
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)


if __name__ == "__main__":
    program()  # once, so that each runner begins at the same moment
    for number in range(int(sys.argv[2])):
        one(sys.argv[1], number * STEP_S)
